"""Preparation of a run: the installation, applications and subscriptions, filled archives, the instruments."""
