"""The client program: trains on data that stays where it is. The only place where MXNet is imported."""
