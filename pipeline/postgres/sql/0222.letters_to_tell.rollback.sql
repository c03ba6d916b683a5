drop trigger note_letters_to_tell on dead_letters;
drop function note_letter_to_tell;
drop index subscriptions_told_of_letters;
drop table letters_to_tell;
