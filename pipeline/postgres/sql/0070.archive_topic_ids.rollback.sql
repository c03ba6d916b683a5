alter table archive_offsets drop column topic_id;
