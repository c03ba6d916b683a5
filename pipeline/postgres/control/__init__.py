"""The control plane: organizations, people, applications, subscriptions, secrets, and their publication."""
