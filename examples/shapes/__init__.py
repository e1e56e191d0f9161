"""Pictures of shapes in class folders, for the tutorial on images."""
