"""Gradients of several small batches in one step."""
