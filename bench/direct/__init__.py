"""Measurements without a stream of events: reads of the API, and writes of the archive."""
