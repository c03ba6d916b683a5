"""Results for people: a page with plots, and the lines that a run shows."""
