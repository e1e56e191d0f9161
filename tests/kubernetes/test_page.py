"""docs/operating/kubernetes.md against the manifests."""

import re
import shutil
from pathlib import Path

from tests.kubernetes.manifests import (
    FOLDER,
    OVERLAYS,
    find_workload,
    list_workloads,
    name_of,
    read_environment,
    read_rendered,
    render,
)
from tests.pages import ROOT, list_blocks

PAGE = ROOT / "docs" / "operating" / "kubernetes.md"


def test_the_kustomization_of_the_page_renders_with_its_images_and_settings(tmp_path: Path) -> None:
    [block] = [block for block in list_blocks(PAGE) if block.file]
    shutil.copytree(FOLDER, tmp_path / "deploy" / "kubernetes")
    path = tmp_path / block.file
    path.parent.mkdir()
    path.write_text(block.code)
    objects = render(path.parent)
    assert {each["metadata"]["namespace"] for each in objects} == {"fl"}
    images = {each["image"] for workload in list_workloads(objects) for each in workload.containers}
    assert all(image.startswith("registry.example.org/fedmx-") for image in images)
    server = find_workload(objects, "Job/server")
    assert read_environment(objects, server.containers[0])["NUM_ROUNDS"] == "10"


def test_every_object_that_a_command_names_exists() -> None:
    objects = [each for overlay in OVERLAYS for each in read_rendered(overlay)]
    names = {name_of(each).lower() for each in objects}
    commands = [command.text for block in list_blocks(PAGE) for command in block.commands]
    named = {
        f"{kind}/{name}"
        for command in commands
        for kind, name in re.findall(r"\b(job|deployment|service)[ /]([a-z][a-z-]*)", command)
    }
    assert len(named) > 3
    assert named <= names


def test_every_secret_that_a_command_creates_is_mounted_by_a_pod() -> None:
    objects = [each for overlay in OVERLAYS for each in read_rendered(overlay)]
    mounted = {
        volume["secret"]["secretName"]
        for workload in list_workloads(objects)
        for volume in workload.volumes.values()
        if "secret" in volume
    }
    created = set(re.findall(r"create secret generic ([a-z0-9-]+)", PAGE.read_text()))
    assert created == mounted
