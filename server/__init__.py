"""The server program: waits for nodes, trains round by round, keeps what happened. No MXNet here."""
