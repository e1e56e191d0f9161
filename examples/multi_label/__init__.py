"""Several labels per example, with positive weights."""
