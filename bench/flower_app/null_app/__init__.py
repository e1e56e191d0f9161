"""The same model, nodes, strategy and stopwatch for every engine. It imports only flwr, for `flwr run`."""
