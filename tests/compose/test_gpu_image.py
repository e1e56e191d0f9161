"""The client's image with CUDA: its contents, and its behaviour on a machine without a card."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.client.given.libraries import compile_driver
from tests.compose.conftest import build_images
from tests.compose.images import (
    inspect,
    list_packages,
    list_tools,
    list_unmet_requirements,
    read_lock,
    run_container,
    run_in,
)
from tests.compose.stack import Stack, name_image

pytestmark = [pytest.mark.gpu_image, pytest.mark.usefixtures("gpu_image"), pytest.mark.timeout(1800)]

IMAGE = name_image("client-gpu")
PACKAGES = "/opt/venv/lib/python3.11/site-packages"
NO_DRIVER = (
    "no NVIDIA driver (libcuda.so.1: cannot open shared object file: No such file or directory);"
    " a container gets it from NVIDIA's container toolkit"
)
_WITHOUT_CARDS = """
services:
  client-gpu:
    environment: {NVIDIA_VISIBLE_DEVICES: void}
    deploy: {resources: {reservations: !reset null}}
"""


@pytest.fixture(scope="module")
def gpu_image(images: None) -> None:
    """The image, built from this tree."""
    build_images("--profile", "gpu", "build", "client-gpu")


def last_line_of_a_client(*options: str) -> tuple[int, str]:
    done = run_container(IMAGE, options=("--env", "LINK_SECURITY=insecure", *options))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1].partition("ERROR   ")[2]


def test_the_packages_are_those_of_the_lock_and_are_compatible() -> None:
    assert list_packages(IMAGE) == read_lock("gpu")
    assert list_unmet_requirements(IMAGE) == []


@pytest.mark.parametrize("libraries", ["mxnet/libmxnet.so", "nvidia/*/lib/*.so*"])
def test_every_library_finds_its_dependencies_except_the_driver(libraries: str) -> None:
    printed = run_in(IMAGE, "sh", "-c", f"ldd {PACKAGES}/{libraries}")
    assert "libcublas.so.11 => /opt/venv" in printed
    missing = set(re.findall(r"\S+(?= => not found)", printed))
    assert missing == ({"libcuda.so.1"} if libraries.startswith("mxnet") else set())


def test_it_imports_mxnet_and_flower_without_a_driver() -> None:
    run_in(IMAGE, "python", "-c", "import client.mx, mxnet, flwr")


def test_the_stub_of_the_driver_is_not_on_the_loaders_path() -> None:
    listed = run_in(IMAGE, "/sbin/ldconfig", "-p")
    assert "libcudart.so.11.0" in listed
    assert "libcuda.so" not in listed


def test_it_requests_the_cards_and_the_compute_libraries_from_nvidias_runtime() -> None:
    wanted = {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"}
    assert wanted <= set(inspect(IMAGE)["Config"]["Env"])


def test_it_equals_the_cpu_image_in_everything_else() -> None:
    ours, others = (inspect(image)["Config"] for image in (IMAGE, name_image("client")))
    for key in ("Cmd", "Entrypoint", "User", "WorkingDir"):
        assert ours[key] == others[key]
    assert ours["User"] == "10001:10001"
    assert set(others["Env"]) < set(ours["Env"])


def test_no_tool_that_builds_or_downloads_is_left_and_its_size_is_bounded() -> None:
    assert list_tools(IMAGE) == ""
    assert inspect(IMAGE)["Size"] <= 4.0e9


def test_a_required_gpu_that_is_missing_is_reported_with_the_reason() -> None:
    code, line = last_line_of_a_client("--env", "DEVICE=gpu")
    assert (code, line) == (2, f"DEVICE=gpu: {NO_DRIVER}; expected a working CUDA device, or DEVICE=cpu")


def test_a_card_that_mxnet_does_not_support_is_reported_with_its_capability(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    compile_driver(tmp_path / "libcuda.so.1", (9, 0))
    code, line = last_line_of_a_client(
        *("--volume", f"{tmp_path}:/driver:ro", "--env", "LD_LIBRARY_PATH=/driver", "--env", "DEVICE=gpu")
    )
    assert code == 2
    assert line == (
        "DEVICE=gpu: GPU 0 is Card A of compute capability 9.0; MXNet supports 5.0, 6.0, 7.0, 8.0, 8.6"
        " and later minor versions of each; expected a working CUDA device, or DEVICE=cpu"
    )


def test_without_the_stub_of_the_driver_the_missing_library_is_one_line() -> None:
    code, line = last_line_of_a_client("--tmpfs", "/opt/venv/lib/cuda-stub")
    assert code == 2
    assert line.startswith("MXNet cannot be loaded: libcuda.so.1: cannot open shared object file")


def logs_of(stack: Stack) -> list[str]:
    """Return the output of each client of this image."""
    return [
        subprocess.run(["docker", "logs", c.id], capture_output=True, text=True, check=True).stderr
        for c in stack.containers("client-gpu")
    ]


def test_without_a_gpu_it_warns_once_and_trains_on_the_cpu_beside_the_other_image(stack: Stack) -> None:
    stack.override = _WITHOUT_CARDS
    up = stack.run("--profile", "gpu", "up", "--scale", "client=1", "--scale", "client-gpu=1")
    assert up.returncode == 0, up.stdout
    ends = sorted((container.service, container.exit_code) for container in stack.containers())
    assert ends == [("client", 0), ("client-gpu", 0), ("outcome", 0), ("pki", 0), ("server", 0)]
    [log] = logs_of(stack)
    assert re.findall(r"WARNING (.*)", log) == [f'training on the CPU reason="{NO_DRIVER}"']
    assert "device=cpu(0)" in log
    assert stack.read_run()["status"] == "finished"
    assert stack.read_history()[-1]["evaluate"]["metrics"]["accuracy"] >= 0.97


def test_with_a_gpu_it_trains_on_the_gpu(stack: Stack) -> None:
    command = ["docker", "run", "--rm", "--gpus", "all", "--network", "none", IMAGE, "true"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this engine hands out no GPU")
    up = stack.run("--profile", "gpu", "up", "--scale", "client=0", "--scale", "client-gpu=2", DEVICE="gpu")
    assert up.returncode == 0, up.stdout
    for log in logs_of(stack):
        assert re.search(r"device=gpu\(\d+\)", log)
        assert "WARNING" not in log
    assert stack.read_history()[-1]["evaluate"]["metrics"]["accuracy"] >= 0.97
