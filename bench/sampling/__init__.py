"""Figures taken while a load runs: processor time, memory, lag; and the machine they were taken on."""
