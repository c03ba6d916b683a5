"""The domain without a clock, a loop, a network or a library that speaks to one. All functions are pure."""
