-- depends: 0051.replays

-- An application's dead letters in the order of their list: without it each page read and sorted every day's partition.
create index dead_letters_newest on dead_letters (application_id, died_at_us, dead_id);
