"""Ranking of items by implicit feedback, with new negatives at every access."""
