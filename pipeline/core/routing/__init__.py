"""Which subscriptions an event is for, and what each of them asks for."""
