"""A member of a consumer group: `consumer` runs on the loop, `consumer_thread` and what it uses in a thread."""
