drop table archive_offsets;
drop table dead_letters;
drop table attempts;
drop table deliveries;
drop table dispatches;
drop table events;
