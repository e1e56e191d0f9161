"""`python -m tests.client.given.growth`: resident bytes after 3 and after 20 train messages, as JSON."""

import json
import os
import sys
from pathlib import Path

from fedmx.memory import share_heap
from tests.client.given import node

SHARE: dict[str, node.Value] = node.SHARE | {"num-partitions": 20, "batch-size": 100, "local-epochs": 1}


def read_resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    _, arrays = node.query(SHARE)
    resident = {}
    for number in range(1, 21):
        arrays, _ = node.train(arrays, SHARE | {"server-round": number})
        node.evaluate(arrays, SHARE)
        resident[number] = read_resident_bytes()
    json.dump({"after-3": resident[3], "after-20": resident[20]}, sys.stdout)


if __name__ == "__main__":
    share_heap()
    main()
