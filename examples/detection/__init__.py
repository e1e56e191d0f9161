"""Object detection with mean average precision."""
