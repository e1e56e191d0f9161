"""Training on data larger than memory: the built-in loop, and a plain script with the same model and data."""
