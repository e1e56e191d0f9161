"""Limits on memory, by control groups and by the process's own resource limits."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fedmx import memory
from fedmx.memory import Limit

V1, V2 = "4:memory:{}\n3:cpuset:/\n", "0::{}\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_a_container_of_version_1_sees_its_own_limit_and_kills_at_the_top(tmp_path: Path, own: Path) -> None:
    own.write_text(V1.format("/docker/46e80f3ad087"))
    kills = "oom_kill_disable 0\nunder_oom 0\noom_kill 3"
    write(tmp_path / "memory", memory_limit_in_bytes=104857600, memory_oom_control=kills)
    assert memory.find_limit(tmp_path, own) == Limit(104857600, "memory.limit_in_bytes")
    assert memory.count_kills(tmp_path, own) == 3


def test_a_container_of_version_2_sees_its_own_limit_and_kills_at_the_top(tmp_path: Path, own: Path) -> None:
    own.write_text(V2.format("/"))
    write(tmp_path, memory_max=104857600, memory_events="low 0\noom 9\noom_kill 2\noom_group_kill 0")
    assert memory.find_limit(tmp_path, own) == Limit(104857600, "memory.max")
    assert memory.count_kills(tmp_path, own) == 2


def test_the_smallest_limit_of_a_group_and_those_above_it_counts(tmp_path: Path, own: Path) -> None:
    own.write_text(V2.format("/user.slice/run.scope"))
    write(tmp_path / "user.slice" / "run.scope", memory_max="max", memory_events="oom_kill 1")
    write(tmp_path / "user.slice", memory_max=1000, memory_events="oom_kill 7")
    assert memory.find_limit(tmp_path, own) == Limit(1000, "memory.max")
    assert memory.count_kills(tmp_path, own) == 1


@pytest.mark.parametrize(("form", "top"), [(V1, "memory"), (V2, "")])
@pytest.mark.parametrize("text", ["max", str(2**63 - 4096), ""])
def test_a_group_without_a_limit_has_none(tmp_path: Path, own: Path, form: str, top: str, text: str) -> None:
    own.write_text(form.format("/a"))
    write(tmp_path / top / "a", memory_max=text, memory_limit_in_bytes=text)
    assert memory.find_limit(tmp_path, own) is None
    assert memory.count_kills(tmp_path, own) == 0


def test_a_system_without_control_groups_has_none(tmp_path: Path, own: Path) -> None:
    assert memory.find_limit(tmp_path, own) is None
    assert memory.count_kills(tmp_path, own) == 0


@pytest.mark.parametrize(
    ("kind", "name"), [(resource.RLIMIT_AS, "RLIMIT_AS"), (resource.RLIMIT_DATA, "RLIMIT_DATA")]
)
def test_a_limit_of_the_process_counts_if_it_is_the_smaller_one(
    tmp_path: Path, own: Path, kind: int, name: str
) -> None:
    own.write_text(V2.format("/"))
    write(tmp_path, memory_max=8 * 1024**3)
    program = (
        f"import resource; from pathlib import Path; resource.setrlimit({kind}, (4 * 1024**3, -1))\n"
        "from fedmx import memory\n"
        f"print(memory.find_limit(Path({str(tmp_path)!r}), Path({str(own)!r})))"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert printed.strip() == str(Limit(4 * 1024**3, name))


def test_in_a_container_a_control_groups_limit_is_a_setting(tmp_path: Path, own: Path) -> None:
    for form, top, name in ((V1, "memory", "memory.limit_in_bytes"), (V2, "", "memory.max")):
        own.write_text(form.format("/"))
        write(tmp_path / top, **{name.replace(".", "_", 1): 1000})
        limit = memory.find_limit(tmp_path, own)
        assert limit == Limit(1000, name)
        assert limit.name_in_container("client") == "CLIENT_MEMORY"
    assert Limit(1000, "RLIMIT_AS").name_in_container("client") == "RLIMIT_AS"


def test_this_machine_has_memory() -> None:
    found = Path("/proc/meminfo").read_text().split()
    assert memory.find_physical().name in found[0]
    assert memory.find_physical().size // 1024 == int(found[found.index("MemTotal:") + 1])
