drop trigger audit_log_place on audit_log;
drop function hold_audit_place();
