-- depends: 0051.replays
-- What of an event's payload a subscription wants: JSON. Null: anything.

alter table subscriptions add column payload_filter text;
