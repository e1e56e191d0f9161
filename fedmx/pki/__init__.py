"""Certificates and access: credentials, peer verification, and the authority that issues certificates."""
