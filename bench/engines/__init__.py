"""The engines that are measured, a module each: `measure` for the parent, then what its processes run."""
