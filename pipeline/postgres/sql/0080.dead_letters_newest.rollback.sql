drop index dead_letters_newest;
