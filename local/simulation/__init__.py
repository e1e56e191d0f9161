"""`make simulate`: many virtual nodes on Flower's simulation engine, which runs on Ray."""
