"""Positions in the log: what is settled, what was lost, and which copy of a record is the same."""
