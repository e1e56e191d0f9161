"""How many cores control groups leave to this process."""

import os
from pathlib import Path

import pytest

from fedmx.cgroups import count_cores

V1, V2 = "4:cpu,cpuacct:{}\n3:cpuset:/\n", "0::{}\n"


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


def write_quota(folder: Path, quota: str, period: str = "100000") -> None:
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 4),
        ("400000 100000\n", 4),
        # A core and a half is enough for two threads.
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("800000 100000\n", 4),
        ("200000 0\n", 4),
        ("nonsense", 4),
    ],
)
def test_cores_are_those_of_the_affinity_capped_by_the_quota(
    quota: str, cores: int, tmp_path: Path, own: Path
) -> None:
    own.write_text(V2.format("/"))
    (tmp_path / "cpu.max").write_text(quota)
    assert count_cores(tmp_path, own) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("400000", 4), ("150000", 2), ("50000", 1)])
def test_version_1_of_control_groups_has_the_quota_in_two_files(
    quota: str, cores: int, tmp_path: Path, own: Path
) -> None:
    own.write_text(V1.format("/docker/46e80f3ad087"))
    write_quota(tmp_path / "cpu", quota)
    assert count_cores(tmp_path, own) == cores


@pytest.mark.parametrize(("inner", "outer", "cores"), [("-1", "200000", 2), ("100000", "200000", 1)])
def test_the_smallest_quota_of_all_groups_above_counts(
    inner: str, outer: str, cores: int, tmp_path: Path, own: Path
) -> None:
    own.write_text(V1.format("/slice/run"))
    write_quota(tmp_path / "cpu" / "slice" / "run", inner)
    (tmp_path / "cpu" / "slice" / "cpu.cfs_quota_us").write_text(f"{outer}\n")
    (tmp_path / "cpu" / "slice" / "cpu.cfs_period_us").write_text("100000\n")
    assert count_cores(tmp_path, own) == cores


def test_without_control_groups_cores_are_those_of_the_affinity(tmp_path: Path, own: Path) -> None:
    assert count_cores(tmp_path, own) == 4
