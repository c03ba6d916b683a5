-- depends: 0223.organization_quotas

-- Organizations that have partitions of their own in the archive, and from which day on. The days ahead are made to fit.
create table isolated_organizations (
    organization_id uuid primary key references organizations,
    isolated_from date not null
);
