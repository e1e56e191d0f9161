"""The link's wire format. It uses no socket and no thread."""
