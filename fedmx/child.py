"""Runs a module as a program that ends when its parent ends, even by SIGKILL: `child.py PARENT_PID MODULE`.

The kernel sends SIGTERM when the parent dies. The child asks for that itself: doing so between fork and exec
would run code that a parent with threads must not run there.
"""

import runpy
import signal
import sys

from fedmx.children import end_with_parent


def main() -> None:
    """Bind this process to its parent, then run the module."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    end_with_parent(parent, signal.SIGTERM)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
