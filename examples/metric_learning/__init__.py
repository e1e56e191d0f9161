"""Metric learning with balanced batches."""
