"""How much a caller or an application may send."""
