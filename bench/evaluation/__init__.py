"""From journals and samples to figures, results and comparisons. Pure, but for reading the journals."""
