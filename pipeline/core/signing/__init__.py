"""Secrets: signatures of deliveries, sealing, passwords."""
