"""Passes a run on to other programs: TensorBoard, MLflow, a command, a webhook.

`server.reporting` has a module for each of them, which imports one of these only where it is on.
"""
