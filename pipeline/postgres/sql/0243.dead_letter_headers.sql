-- depends: 0242.retry_schedules

-- Headers of records of producers' topics, without which some cannot be read again: JSON, values in base64.
alter table dead_letters add column source_headers text;
