"""Isolation: lanes, what each may hold of a process, and what its endpoint may be asked for."""
