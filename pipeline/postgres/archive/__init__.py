"""The archive: events, deliveries and attempts in day partitions. Archive processes write it, gateways read it."""
