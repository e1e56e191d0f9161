"""Ranking of items by implicit feedback, with negatives drawn anew."""
