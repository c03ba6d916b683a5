alter table service_tokens drop column scopes, drop column application_ids, drop column expires_at;
drop table mail_tokens, access_tokens, sessions, members, users;
