drop table service_tokens;
