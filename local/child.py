"""Runs a program that ends when its parent ends, however that ends: `child.py PARENT_PID MODULE`.

The kernel sends SIGTERM at the parent's death. Asking for that here, in the child, needs no code between fork
and exec, which a parent with threads must not run.
"""

import runpy
import signal
import sys

from fedmx.children import end_with_parent


def main() -> None:
    """Bind this process to its parent, then become the program."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    end_with_parent(parent, signal.SIGTERM)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
