"""Runs one case under load: its phases, the wait for its last deliveries, its result."""
