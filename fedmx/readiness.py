"""How a server reports that it listens: one line of JSON through a pipe of the process that started it."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fedmx.settings import find_ready_fd
from fedmx.values import Address


@dataclass(frozen=True)
class Ready:
    """What a server knows once it listens.

    Attributes:
        address: where it listens; with LISTEN_ADDRESS=host:0, the kernel chose the port.
        run_dir: the folder of its run, which may not exist yet.
        url: the page that shows the run; empty if there is none.
    """

    address: Address
    run_dir: Path
    url: str = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        """Parse the line that `report_ready` wrote.

        Raises:
            ValueError: the line is incomplete.
        """
        values = json.loads(line)
        try:
            return cls(Address.parse(values["address"]), Path(values["run_dir"]), str(values.get("url", "")))
        except (KeyError, TypeError):
            raise ValueError(line) from None


def report_ready(ready: Ready) -> None:
    """Write the line to the pipe READY_FD and close it; do nothing if the server was started without one."""
    descriptor = find_ready_fd()
    if descriptor is None:
        return
    line = {"address": str(ready.address), "run_dir": str(ready.run_dir), "url": ready.url}
    # The process that started the server may be gone.
    with suppress(OSError), open(descriptor, "w") as pipe:  # noqa: PTH123 - a descriptor has no path
        pipe.write(json.dumps(line) + "\n")
