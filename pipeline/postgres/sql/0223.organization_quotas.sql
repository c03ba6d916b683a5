-- depends: 0222.letters_to_tell

-- What an organization may use where it differs from the instance's quotas. Null: as the instance has it.
create table organization_quotas (
    organization_id uuid primary key references organizations,
    members_per_organization integer check (members_per_organization > 0),
    applications_per_organization integer check (applications_per_organization > 0),
    events_per_day integer check (events_per_day > 0),
    event_types_per_application integer check (event_types_per_application > 0)
);
create trigger note_organization_quotas after insert or update or delete on organization_quotas
    for each row execute function note_change(
        'organization_quotas', 'organization_id',
        'members_per_organization applications_per_organization events_per_day event_types_per_application', ''
    );
