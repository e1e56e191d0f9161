"""A probabilistic forecast of time series, from an endless stream of windows."""
