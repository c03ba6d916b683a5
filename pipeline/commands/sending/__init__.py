"""The parts of `hookline send`: the destination, the events, and sending many of them at a pace."""
