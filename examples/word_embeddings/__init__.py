"""Embeddings of words, from a stream of text."""
