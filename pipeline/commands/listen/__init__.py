"""`hookline listen`: a receiver that shows and verifies what arrives, for trying things out."""
