alter table dead_letters drop column source_headers;
