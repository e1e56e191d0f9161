"""`python -m tests.client.given.watched_client`: the client program, printing each process that it starts."""

import subprocess
import sys

from fedmx.program import run_program

STARTS = ("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn", "subprocess.Popen")


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in STARTS:
        print("started a process:", event, arguments[:1], flush=True)


if __name__ == "__main__":
    sys.addaudithook(watch)
    # The one start that must be printed: it proves that starts are seen.
    subprocess.run(["true"], check=True)
    # numpy starts `lscpu` when serving imports it, which is before anything has threads.
    import client.serving  # noqa: F401
    from client.__main__ import main

    print("the client begins", flush=True)
    run_program(main)
