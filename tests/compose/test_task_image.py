"""A task in the client's image: its packages, by TASK_REQUIREMENTS, and its code, mounted or built in."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.conftest import make_stack
from tests.compose.images import inspect, list_packages, list_tools, run_container, run_in
from tests.compose.stack import ROOT, Stack, name_image
from tests.pages import find_code

pytestmark = [pytest.mark.compose, pytest.mark.usefixtures("images")]

CLIENT = name_image("client")
# The client's image is made of these.
FILES = (".dockerignore", "Dockerfile.client", "docker-compose.yml")
FOLDERS = ("client", "data", "fedmx", "requirements")
# Uses the compiled module, and trains a network of the package.
USE = """
from client.mx import autograd, mx
import json, gluonnlp, gluonnlp.data.fast_bert_tokenizer as compiled, mxnet, numpy
vocabulary = gluonnlp.Vocab(gluonnlp.data.count_tokens("to be or not to be".split()))
net = gluonnlp.model.ConvolutionalEncoder(embed_size=4, num_filters=(2,), ngram_filter_sizes=(2,))
net.initialize()
with autograd.record():
    outputs = net(mx.nd.ones((6, len(vocabulary), 4)))
outputs.backward()
print(json.dumps([compiled.__file__[-3:], outputs.shape, numpy.__version__, mxnet.__version__]))
"""
TASK = "from client.tasks.mnist import load_data\nfrom hospital.network import build_model\n"
NETWORK = """
from pathlib import Path
from client.mx import gluon

def build_model():
    return gluon.nn.Dense(int(Path(__file__).with_name("classes.txt").read_text()))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Stack]:
    """A project with a build context of its own, for a file that this tree does not have."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, root)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, root / name)
    made = make_stack(tmp_path)
    made.root = root
    yield made
    made.end()


def build(checkout: Stack, requirements: str) -> "subprocess.CompletedProcess[str]":
    (checkout.root / "requirements" / "task.txt").write_text(requirements)
    return checkout.run("build", "client", TASK_REQUIREMENTS="requirements/task.txt", DOCKER_BUILDKIT=1)


def test_a_package_that_has_to_be_compiled_is_a_layer_on_the_image_without_it(checkout: Stack) -> None:
    built = build(checkout, "gluonnlp==0.10.0\n")
    assert built.returncode == 0, built.stdout
    image = name_image("client", checkout.name)
    printed = run_in(image, "python", "-W", "ignore", "-c", USE)
    assert json.loads(printed.splitlines()[-1]) == [".so", [8, 2], "1.26.4", "1.9.1"]
    added = {package.partition("==")[0] for package in list_packages(image) - list_packages(CLIENT)}
    assert added == {"gluonnlp", "cython"}
    assert list_packages(CLIENT) < list_packages(image)
    assert list_tools(image) == ""
    assert run_container(image, "ls", "/build").returncode != 0
    # The last layer is fedmx itself.
    *shared, _ = inspect(CLIENT)["RootFS"]["Layers"]
    *same, _, _ = inspect(image)["RootFS"]["Layers"]
    assert same == shared


def test_a_package_that_does_not_fit_the_lock_ends_the_build_with_one_line(checkout: Stack) -> None:
    before = inspect(name_image("client", checkout.name))["Id"]
    built = build(checkout, "numpy==2\n")
    assert built.returncode != 0
    lines = {line.split(" ", 2)[-1] for line in built.stdout.splitlines() if "does not fit" in line}
    [line] = [line for line in lines if line.startswith("requirements/task.txt: ")]
    assert "numpy==1.26.4" in line
    assert inspect(name_image("client", checkout.name))["Id"] == before


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """A folder with a task: two modules and a file."""
    folder = tmp_path / "hospital"
    folder.mkdir()
    for name, text in (("task.py", TASK), ("network.py", NETWORK), ("classes.txt", "10")):
        (folder / name).write_text(text)
    return folder


def check_task(image: str, *options: str) -> str:
    done = run_container(image, "python", "-m", "client", "check-task", "hospital.task", options=options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_of_a_task_is_mounted_as_the_page_shows(stack: Stack, hospital: Path) -> None:
    text = find_code("docker-compose.override.yml, which").replace("./hospital", str(hospital))
    stack.override = text.replace("/srv/scans", str(ROOT / "data" / "mnist"))
    up = stack.up(NUM_ROUNDS=1, LOCAL_EPOCHS=1, JOIN_WINDOW=0)
    assert up.returncode == 0, up.stdout
    assert {array.shape for array in stack.read_model().values()} == {(10, 784), (10,)}


def test_the_pages_dockerfile_makes_an_image_with_the_task(hospital: Path) -> None:
    (hospital.parent / "Dockerfile").write_text(
        find_code("COPY hospital").replace("fedmx-client:0.1.0", CLIENT)
    )
    image = f"{CLIENT}-hospital"
    command = ["docker", "build", "--quiet", "--tag", image, str(hospital.parent)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        assert " 7850 in 2 arrays" in check_task(image)
        assert inspect(image)["Config"]["Cmd"] == inspect(CLIENT)["Config"]["Cmd"]
    finally:
        subprocess.run(["docker", "image", "rm", image], check=True, capture_output=True)
