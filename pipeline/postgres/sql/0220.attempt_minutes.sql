-- depends: 0104.oidc_logins

-- Attempts counted by minute (since the epoch, of their end) and by what they came to; an attempt is counted in the
-- transaction that writes its row. `error_class`: '' for none. `status_class`: the first digit of the answer's status, 0
-- without one. `latency`: counts by bucket of duration, see pipeline/core/latency.py; those of cancelled attempts are 0.
create table attempt_minutes (
    application_id uuid not null,
    subscription_id uuid not null,
    minute bigint not null,
    outcome text not null,
    error_class text not null,
    status_class integer not null,
    attempts bigint not null,
    took_us bigint not null,
    latency bigint[] not null,
    primary key (application_id, subscription_id, minute, outcome, error_class, status_class)
) with (fillfactor = 60); -- a row is changed many times within its minute
create index attempt_minutes_of_application on attempt_minutes (application_id, minute);
create index attempt_minutes_oldest on attempt_minutes using brin (minute);
