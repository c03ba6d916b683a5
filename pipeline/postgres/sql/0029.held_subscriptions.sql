-- depends: 0020.routes_in_parts
-- What waits for a subscription that Hookline disabled is kept for a while, in case its owner enables it again.

alter table subscriptions add column held_until timestamptz;
