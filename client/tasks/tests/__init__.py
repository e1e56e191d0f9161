"""Tests of the built-in tasks, which `python -m client new-task` writes beside a task made from one."""
