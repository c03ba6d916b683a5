drop function note_request(text, text, uuid, text, jsonb);
-- entries of requests stay: the log is append-only
alter table audit_log drop constraint audit_log_action_check;
alter table audit_log add constraint audit_log_action_check check (action in ('created', 'changed', 'deleted')) not valid;
