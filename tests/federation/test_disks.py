"""Disks that are full, read-only or gone: one line, the exit code, no loss and no partial files."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from server.record import checkpoint
from tests.federation.chaos.disk import Before, Disk
from tests.federation.chaos.reference import Plan, Reference
from tests.federation.chaos.stage import Stage

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="mounting a disk needs root")

TINY = {"TASK": "tiny_task"}
PLAN = Plan()
FULL, READ_ONLY = "No space left on device", "Read-only file system"
SAVE, ADD_ROUND, FINISH = (
    "server.record.checkpoint:save",
    "server.record.run:RunRecord._add_line",
    "server.record.run:RunRecord.finish",
)


@pytest.fixture
def disk(stage: Stage) -> Iterator[Disk]:
    """The disk of the runs."""
    made = Disk(stage.folder / "disk", stage.runs_dir)
    try:
        made.make()
    except PermissionError:
        pytest.skip("root may not mount a disk here, as in a container")
    yield made
    made.end()


def test_a_full_disk_is_reported_before_round_1_and_leaves_no_run(stage: Stage, disk: Disk) -> None:
    disk.fill()
    server = stage.start_server(**PLAN.settings)
    assert server.wait() == 2, server.log
    last = server.log.splitlines()[-1]
    assert f".lock: cannot be written: {FULL}; expected a writable folder with room for it" in last
    assert "Traceback" not in server.log
    assert sorted(path.name for path in disk.store.iterdir()) == [".ballast", ".lock"]


def test_a_read_only_disk_is_reported_before_round_1(stage: Stage, disk: Disk) -> None:
    disk.lock()
    server = stage.start_server(**PLAN.settings)
    assert server.wait() == 2, server.log
    [line] = server.log.splitlines()
    assert (
        f"RUNS_DIR={stage.runs_dir}: {READ_ONLY}; expected a folder that this user (uid 0) can write" in line
    )


@dataclass(frozen=True)
class Fault:
    """What becomes of the disk: before which call of the server, what the system then says, what mends it.

    Attributes:
        kept: the newest round that has a checkpoint by then.
    """

    function: str
    call: int
    fail: Callable[[Disk], None]
    mend: Callable[[Disk], None]
    words: str
    kept: int

    def __str__(self) -> str:
        return f"{self.fail.__name__} before {self.function}"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(SAVE, 3, Disk.fill, Disk.clear, FULL, kept=2),
        Fault(SAVE, 3, Disk.lock, Disk.vanish, READ_ONLY, kept=2),
        Fault(SAVE, 3, Disk.vanish, Disk.come_back, "No such file or directory", kept=2),
        Fault(ADD_ROUND, 3, Disk.fill, Disk.clear, FULL, kept=3),
        Fault(FINISH, 1, Disk.fill, Disk.clear, FULL, kept=4),
    ],
    ids=str,
)
def test_a_disk_that_fails_during_a_run_ends_it_with_4_and_the_last_valid_checkpoint_remains(
    fault: Fault, stage: Stage, disk: Disk, reference: Reference
) -> None:
    strike = Before(fault.function, partial(fault.fail, disk), fault.call)
    server = stage.start_server(fault=strike, **PLAN.settings)
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in PLAN.names]
    assert [program.wait() for program in (server, *nodes)] == [4, 4, 4], stage.logs
    last = server.log.splitlines()[-1]
    assert (
        f"cannot be written: {fault.words}; expected a writable folder with room for it; the run resumes"
        in last
    )
    assert "Traceback" not in stage.logs
    fault.mend(disk)
    checkpoints = (stage.runs_dir / "latest" / "checkpoints").resolve()
    assert checkpoint.list_rounds(checkpoints)[0] == fault.kept
    assert checkpoint.load(checkpoint.path_of(checkpoints, fault.kept)).facts.round == fault.kept
    assert stage.halves == []
    server = stage.start_server(**PLAN.settings)
    nodes = [stage.start_client(NODE_NAME=name, **TINY) for name in PLAN.names]
    assert [program.wait() for program in (server, *nodes)] == [0, 0, 0], stage.logs
    assert f"run resumed run={stage.facts['run_id']} round={fault.kept + 1} " in server.log
    assert stage.facts["model_sha256"] == reference.digest(PLAN)
    assert [line["round"] for line in stage.history] == [1, 2, 3, 4]
