"""The control plane: organizations, people, applications, subscriptions, secrets, and what is published of them."""
