drop table organization_quotas;
