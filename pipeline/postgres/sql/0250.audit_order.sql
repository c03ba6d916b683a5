-- depends: 0243.dead_letter_headers

-- An entry has its number before its transaction ends, so that a lower number may come into sight after a higher one.
-- Each transaction that notes a change therefore holds, until it ends, a lock that says above which number its entries
-- are: who reads on behind a number reads no further than the lowest of these. The lock is shared: no writer waits.
create function hold_audit_place() returns trigger language plpgsql as $$
begin
    if coalesce(current_setting('hookline.audit_place', true), '') = '' then
        perform pg_advisory_xact_lock_shared(1751478121, least(last_value - (not is_called)::int, 2147483647)::int)
        from audit_log_audit_id_seq;
        perform set_config('hookline.audit_place', 'held', true);
    end if;
    return null;
end
$$;
create trigger audit_log_place before insert on audit_log for each statement execute function hold_audit_place();
