"""Positions in the log: settled and lost records, and equal copies of a record."""
