"""Journals and samples become figures, results and comparisons. Pure, but for reading the journals."""
