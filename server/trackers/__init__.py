"""Passes a run on to other programs: TensorBoard, MLflow, a command, a webhook.

`server.reporting` has a module for each, which imports the one from here only where it is on.
"""
