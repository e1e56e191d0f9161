"""The commands for runs on disk."""
