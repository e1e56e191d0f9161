"""Benchmarks: the cost of a round on each engine, and the overhead of federation over plain training."""
