"""The commands of the pages that need an engine run, in order, in a clean copy of the tree."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedmx import __version__
from tests.compose.conftest import make_stack
from tests.compose.stack import Stack, find_host_address, name_image, remove_images
from tests.pages import PAGES, ROOT, Block, list_blocks
from tests.walk import ONE_SITE, Walk, copy_tree, run_blocks

pytestmark = pytest.mark.compose

SITES = ("docs/operating/sites.md", "README.md")
"""Pages that show one site of several."""
OWN_PROJECTS = """docker() {
    if test -d certs; then env -u COMPOSE_PROJECT_NAME docker "$@"; else command docker "$@"; fi
}"""
"""A bundle has a project name of its own, which a shell of the server's would replace."""


def is_run(block: Block) -> bool:
    return block.is_in_containers and not block.reason


CONTAINERS = [page for page in PAGES if any(map(is_run, list_blocks(page)))]


class Workshop:
    """A copy of the tree whose project has a name of its own.

    Attributes:
        stack: the project.
        folder: the copy.
    """

    def __init__(self, folder: Path) -> None:
        self.stack = make_stack(folder)
        self.folder = folder / "tree"
        copy_tree(self.folder)

    def walk(self, page: Path) -> Walk:
        """Run a page's commands that need an engine, and what these need."""
        name = self.stack.name
        blocks = [
            block
            for block in list_blocks(page)
            if is_run(block) or (block.is_needed_there and not block.reason)
        ]
        places = {
            r"\bfl\.example\.org\b": find_host_address(),
            r"\b8080\b": str(self.stack.port),
            r"\bfedmx-client:[\d.]+": name_image("client", name),
            r"\bhospital-client:1\b": name_image("client", f"{name}-hospital"),
            r"COMPOSE_PROJECT_NAME=other\b": f"COMPOSE_PROJECT_NAME={name}-other",
            r"\bROUNDS=\d+": "ROUNDS=1",
            # Services and volumes of a stack, and their stack.
            r"\bfedmx_(server|client|runs)\b": rf"{name}_\1",
            r"\bnamespace=fedmx\b": f"namespace={name}",
            **(ONE_SITE if str(page.relative_to(ROOT)) in SITES else {}),
        }
        settings = self.stack.variables(COMPOSE_PROJECT_NAME=name, FEDMX_VERSION=__version__, ROUNDS=1)
        first = Block(blocks[0].page, 0, before=(OWN_PROJECTS,))
        return run_blocks([first, *blocks], self.folder, places, **settings)

    def list_sites(self) -> list[Stack]:
        """Return the projects of unpacked bundles."""
        found = sorted(self.folder.glob("*/certs/site.crt"))
        return [
            Stack(f"{self.stack.name}-{path.parents[1].name}", self.folder, root=path.parents[1])
            for path in found
        ]

    def end(self) -> None:
        other = f"{self.stack.name}-other"
        for stack in (*self.list_sites(), self.stack, Stack(other, self.folder, root=self.folder)):
            stack.end()
        remove_images(f"{self.stack.name}-hospital")


@pytest.fixture
def workshop(images: None, tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize("page", CONTAINERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_in_order_and_print_what_it_shows(
    page: Path,
    workshop: Workshop,
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    if page.name == "swarm.md":
        request.getfixturevalue("swarm")
    walk = workshop.walk(page)
    walk.check()
    record_property("commands_run", sum(len(each.commands) for each in list_blocks(page) if is_run(each)))
    if page.name == "tables.md":
        check_hospitals(walk, workshop)


def check_hospitals(walk: Walk, workshop: Workshop) -> None:
    """Three hospitals with a bundle each have trained, and the model predicts for new patients."""
    assert workshop.stack.read_run()["status"] == "finished"
    printed = walk.steps[-1].printed
    assert len(re.findall(r"new_patients\.csv\[\d+\]: class (?:yes|no), ", printed)) == 15
    assert (workshop.folder / "model.params").exists()
    sites = workshop.list_sites()
    assert len(sites) == 3
    for site in sites:
        assert "revealed to the server column=age" in site.log("client")
        assert site.container("client").exit_code == 0
