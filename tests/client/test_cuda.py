"""NVIDIA's driver and its cards, read from real libraries; the choice among cards, by plain values."""

import subprocess
import sys
from pathlib import Path

import pytest

from client.cuda import Card, Driver, NoCardError, Visible, choose_cards, load_driver, read_cards
from fedmx.errors import SettingsError
from tests.client.given.libraries import compile_driver, compile_library

ROOT = Path(__file__).parents[2]
STUB = ROOT / "client" / "cuda_stub.c"
A, B, NEW = Card("A", (8, 6)), Card("B", (7, 5)), Card("C", (9, 0))


def choose(*cards: Card, gpu_index: tuple[int, ...] = (), has_cuda: bool = True) -> list[int]:
    return choose_cards(has_cuda=has_cuda, visible=Visible(cards), gpu_index=gpu_index)


# The driver's library


# In a process of its own: a library that a test has loaded before would answer in place of the stub.
STUBBED = """
import ctypes, sys
from pathlib import Path
from client.cuda import load_driver

linked, stub = sys.argv[1:]
try:
    ctypes.CDLL(linked)
except OSError as error:
    print(error)
driver = load_driver("libcuda-absent.so.1", Path(stub))
print(driver.library, driver.problem, ctypes.CDLL(linked).ask(), sep="\\n")
"""


def test_the_stub_replaces_a_missing_driver(tmp_path: Path) -> None:
    stub = compile_library(STUB, tmp_path / "libcuda-absent.so.1", "-nostdlib")
    source = tmp_path / "linked.c"
    source.write_text("int cuModuleUnload(void); int ask(void) { return cuModuleUnload(); }")
    linked = compile_library(source, tmp_path / "linked.so", str(stub))
    command = [sys.executable, "-c", STUBBED, str(linked), str(stub)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    unstubbed, library, problem, answer = printed.splitlines()
    reason = "libcuda-absent.so.1: cannot open shared object file: No such file or directory"
    assert (unstubbed, library, answer) == (reason, "None", "100")
    assert problem == f"no NVIDIA driver ({reason}); a container gets it from NVIDIA's container toolkit"


def test_a_missing_driver_without_a_stub_is_not_an_error(tmp_path: Path) -> None:
    assert load_driver("libcuda-nowhere.so.1", tmp_path / "none").library is None


def test_an_existing_driver_is_loaded_instead_of_the_stub(tmp_path: Path) -> None:
    (tmp_path / "stub").write_text("not a library: loading it would fail")
    driver = load_driver(str(compile_driver(tmp_path / "loaded.so", (8, 6))), tmp_path / "stub")
    assert driver.library is not None


def test_the_cards_of_a_driver_are_read_with_name_and_capability(tmp_path: Path) -> None:
    driver = load_driver(str(compile_driver(tmp_path / "driver.so", (9, 0), (8, 6))))
    assert read_cards(driver) == Visible((Card("Card A", (9, 0)), Card("Card B", (8, 6))))


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (100, "no CUDA device is visible"),
        (803, "NVIDIA's driver does not work: cuInit: unsupported display driver (803)"),
        (4711, "NVIDIA's driver does not work: cuInit: an unknown error (4711)"),
    ],
)
def test_a_driver_that_fails_lists_no_card_and_has_the_reason(
    tmp_path: Path, code: int, problem: str
) -> None:
    driver = load_driver(str(compile_driver(tmp_path / f"driver-{code}.so", (8, 6), fault=code)))
    assert read_cards(driver) == Visible(problem=problem)


def test_a_missing_driver_lists_no_card() -> None:
    assert read_cards(Driver(None, "no driver")) == Visible(problem="no driver")


# Which cards


@pytest.mark.parametrize(
    "capability", [(5, 0), (5, 2), (5, 3), (6, 0), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 7), (8, 9)]
)
def test_code_runs_on_later_minor_versions_of_its_major(capability: tuple[int, int]) -> None:
    assert choose(Card("A", capability)) == [0]


@pytest.mark.parametrize("capability", [(3, 7), (4, 0), (9, 0), (10, 0), (12, 0)])
def test_cards_of_other_majors_are_refused_with_what_was_found_and_what_is_supported(
    capability: tuple[int, int],
) -> None:
    with pytest.raises(NoCardError) as caught:
        choose(Card("A", capability))
    assert str(caught.value) == (
        "GPU 0 is A of compute capability {}.{};"
        " MXNet supports 5.0, 6.0, 7.0, 8.0, 8.6 and later minor versions of each"
    ).format(*capability)


def test_all_cards_that_can_run_the_code_are_candidates() -> None:
    assert choose(A, NEW, B) == [0, 2]


def test_every_card_is_named_where_none_can_run_the_code() -> None:
    with pytest.raises(NoCardError, match=r"^GPU 0 is C of .* 9\.0, GPU 1 is D of .* 10\.0; MXNet"):
        choose(NEW, Card("D", (10, 0)))


def test_gpu_index_chooses_one_card() -> None:
    assert choose(A, B, gpu_index=(1,)) == [1]


def test_gpu_index_may_choose_several_cards() -> None:
    assert choose(A, B, A, gpu_index=(2, 0)) == [2, 0]
    with pytest.raises(NoCardError, match=r"GPU 1 is C of compute capability 9\.0"):
        choose(A, NEW, gpu_index=(0, 1))
    with pytest.raises(SettingsError, match=r"^GPU_INDEX=3: "):
        choose(A, B, gpu_index=(0, 3))


def test_gpu_index_of_an_unsupported_card_is_never_replaced_by_another_card() -> None:
    with pytest.raises(NoCardError, match=r"^GPU 1 is C of compute capability 9\.0; MXNet"):
        choose(A, NEW, gpu_index=(1,))


def test_gpu_index_out_of_range_is_a_settings_error() -> None:
    with pytest.raises(SettingsError) as caught:
        choose(A, B, gpu_index=(2,))
    assert str(caught.value) == "GPU_INDEX=2: the number of visible GPUs is 2; expected an index below it"


def test_without_cards_the_missing_cards_are_reported_not_gpu_index() -> None:
    with pytest.raises(NoCardError) as caught:
        choose(gpu_index=(2,))
    assert str(caught.value) == "no CUDA device is visible"


def test_an_mxnet_without_cuda_is_reported_before_the_cards() -> None:
    with pytest.raises(
        NoCardError, match=r"^this MXNet is built without CUDA; the package mxnet-cu112 has it"
    ):
        choose(A, has_cuda=False)
