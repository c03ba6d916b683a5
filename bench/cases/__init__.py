"""The measurements: scenarios with their cases, and the payloads of their events."""
