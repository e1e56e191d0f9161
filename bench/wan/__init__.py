"""The part `wan`: one node behind a line with a delay and a limited rate."""
