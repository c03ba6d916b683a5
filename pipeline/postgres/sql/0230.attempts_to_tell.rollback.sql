drop trigger note_attempts_to_tell on attempts;
drop function note_attempt_to_tell;
drop index subscriptions_told_of_attempts;
drop table attempts_to_tell;
