"""Matrix factorization with sparse gradients."""
