drop trigger note_changes_to_tell on audit_log;
drop function note_change_to_tell();
drop table changes_to_tell;
drop index endpoint_states_to_warn, endpoint_states_warned;
alter table endpoint_states drop column warned_since_us;
