"""Hookline: events in over HTTP or Kafka, matched to subscriptions, delivered over HTTP, archived in PostgreSQL."""

__version__ = "0.1.0"
