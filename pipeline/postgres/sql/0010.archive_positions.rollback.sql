drop trigger archive_offsets_follow on archive_offsets;
drop function check_archive_position;
alter table archive_offsets drop column from_offset, drop column records, drop column vacant;
