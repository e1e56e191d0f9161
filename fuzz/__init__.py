"""Coverage-guided tests of what comes over the wire. Neither program imports this."""
