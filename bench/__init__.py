"""What a round costs on each engine, and what federation adds to training: measured, never tested."""
