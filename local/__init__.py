"""A whole federation on one machine: what `make run` starts, shows and ends."""
