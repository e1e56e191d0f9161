"""Semantic segmentation with an auxiliary head."""
