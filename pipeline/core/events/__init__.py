"""Events and the records that cross topics: their rules, their ids, their times."""
