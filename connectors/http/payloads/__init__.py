"""Payloads that deliveries do not carry: read from the event's record, kept in a spool while deliveries need them."""
