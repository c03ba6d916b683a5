-- The role by which Grafana reads figures of applications: names, counts of attempts, reasons of dead letters. No payload,
-- no header, no URL and no secret. To be run after `hookline migrate`, and again after `hookline archive rebuild` has
-- made tables anew:
--   READER_PASSWORD=… psql --set=ON_ERROR_STOP=1 --file=ops/grafana/reader.sql DATABASE
\getenv password READER_PASSWORD
do $$
begin
    if not exists (select from pg_roles where rolname = 'hookline_reader') then
        create role hookline_reader;
    end if;
end
$$;
alter role hookline_reader with login password :'password';
-- a dashboard over many days must not hold up the archive
alter role hookline_reader set statement_timeout = '10s';
alter role hookline_reader set default_transaction_read_only = on;
grant usage on schema public to hookline_reader;
grant select (application_id, name, deleted_at) on applications to hookline_reader;
grant select (subscription_id, application_id, description, deleted_at) on subscriptions to hookline_reader;
grant select on attempt_minutes to hookline_reader;
grant select (application_id, subscription_id, reason, died_at_us) on dead_letters to hookline_reader;
