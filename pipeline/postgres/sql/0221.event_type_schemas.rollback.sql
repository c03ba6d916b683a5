drop trigger note_event_types on event_types;
create trigger note_event_types after insert or update of is_active or delete on event_types
    for each row execute function note_change('event_type', 'name', 'is_active', '');
drop table event_type_schemas;
alter table event_types drop column created_version, drop column schema_mode, drop column schema_version, drop column example;
