"""Sentiment of sentences in buckets of similar length."""
