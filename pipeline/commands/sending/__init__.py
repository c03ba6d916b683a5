"""What `hookline send` does: where events go, what they are, and sending many of them at a pace."""
