"""A probabilistic forecast of time series, from endless windows."""
