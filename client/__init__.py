"""The client program: trains on data that stays on its machine. Only this package imports MXNet."""
