"""The same model, nodes, strategy and stopwatch for every engine. Shipped, so it stands on flwr alone."""
