"""Looks at the log's batches as the broker has them, and finds those that no client can read."""
