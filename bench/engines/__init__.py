"""The engines, one module each: `measure` for the parent process, and the child processes' programs."""
