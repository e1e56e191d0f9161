"""Fine-tuning of a network from the model zoo."""
