"""MXNet scripts of fifteen kinds, each beside the task that was ported from it."""
