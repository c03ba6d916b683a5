drop table archive_detached;
alter table archive_offsets drop column appended_at_us, drop column moved_at;
