-- depends: 0010.archive_positions

-- The broker's clock, as it was when the newest record of a partition was appended, and when that was archived: a clock
-- besides the host's and PostgreSQL's, so that one that is wrong does not decide what is old.
alter table archive_offsets
    add column appended_at_us bigint,
    add column moved_at timestamptz;

-- Days that were taken out of the archive and still exist, as <partition>_detached: they can be attached again, until
-- they are dropped some hours later. `restored_at`: attached again; kept for as long again.
create table archive_detached (
    table_name text not null,
    day date not null,
    detached_at timestamptz not null default clock_timestamp(),
    restored_at timestamptz,
    primary key (table_name, day)
);
