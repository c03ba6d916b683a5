-- depends: 0020.routes_in_parts

-- The topic in which a position counts: one that is deleted and made again has the same name and another id, and its
-- offsets mean other records. Null: written by a process that did not ask.
alter table archive_offsets add column topic_id text;
