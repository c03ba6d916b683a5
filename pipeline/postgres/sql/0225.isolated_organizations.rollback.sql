drop table isolated_organizations;
