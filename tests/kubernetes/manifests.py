"""The manifests of deploy/kubernetes, parsed."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools import ROOT, find_program

Object = Mapping[str, Any]
FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
USERS_OVERLAY = Path(__file__).parent / "everything"
_OLDEST_KUSTOMIZE = 5


def read_rendered(name: str) -> list[Object]:
    """Return the objects of a rendered overlay."""
    return _parse((FOLDER / "rendered" / f"{name}.yaml").read_text())


def render(folder: Path) -> list[Object]:
    """Return the objects of an overlay, rendered by kustomize."""
    return _parse(run_kustomize(folder))


class _ComposeLoader(yaml.SafeLoader):
    """Reads a compose file, whose tags define how the values of two files are merged."""


def _read_tagged(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return None


_ComposeLoader.add_multi_constructor("!", _read_tagged)


def read_compose(name: str) -> Object:
    """Return the content of a compose file of the project."""
    found: Object = yaml.load((ROOT / name).read_text(), _ComposeLoader)  # noqa: S506 - a safe loader
    return found


def run_kustomize(folder: Path) -> str:
    """Return what `kubectl kustomize` prints.

    Where there is no kubectl of a version that knows components, the test is skipped, or fails with
    REQUIRE_KUBECTL=1.
    """
    kubectl = find_program("kubectl", "REQUIRE_KUBECTL")
    # Older versions print no version of kustomize.
    printed = _run(kubectl, "version", "--client", "--output=json")
    version = str(json.loads(printed).get("kustomizeVersion", "v0"))
    if int(version.lstrip("v").partition(".")[0]) < _OLDEST_KUSTOMIZE:
        reason = f"`kubectl` has kustomize {version}; expected {_OLDEST_KUSTOMIZE} or newer"
        if os.environ.get("REQUIRE_KUBECTL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return _run(kubectl, "kustomize", str(folder))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _parse(text: str) -> list[Object]:
    return list(yaml.safe_load_all(text))


@dataclass(frozen=True)
class Workload:
    """What starts pods: a Job, a Deployment or a StatefulSet.

    Attributes:
        name: its kind and its name, such as `Job/server`.
        facts: the object.
        labels: of its pods.
        pod: the specification of its pods.
    """

    name: str
    facts: Object
    labels: Mapping[str, str]
    pod: Object

    @property
    def containers(self) -> Sequence[Object]:
        return [*self.pod.get("initContainers", ()), *self.pod["containers"]]

    @property
    def volumes(self) -> dict[str, Object]:
        """Its volumes by their names, with those of claim templates."""
        found = {volume["name"]: volume for volume in self.pod.get("volumes", ())}
        for template in self.facts["spec"].get("volumeClaimTemplates", ()):
            name = template["metadata"]["name"]
            claim = f"{name}-{self.facts['metadata']['name']}-0"
            found[name] = {"name": name, "persistentVolumeClaim": {"claimName": claim}}
        return found


def list_workloads(objects: Sequence[Object]) -> list[Workload]:
    """Return what starts pods."""
    return [
        Workload(name_of(each), each, each["spec"]["template"]["metadata"]["labels"], template["spec"])
        for each in objects
        if (template := each.get("spec", {}).get("template"))
    ]


def find_workload(objects: Sequence[Object], name: str) -> Workload:
    """Return the workload of a name such as `Job/server`."""
    [found] = [each for each in list_workloads(objects) if each.name == name]
    return found


def name_of(each: Object) -> str:
    """Return an object's kind and name."""
    return f"{each['kind']}/{each['metadata']['name']}"


def read_environment(objects: Sequence[Object], container: Object) -> dict[str, str]:
    """Return the variables of a container: those of its ConfigMaps, then its own."""
    maps = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", ()):
        # A value from the pod itself is an address.
        found[variable["name"]] = variable.get("value", "10.0.0.1")
    return {name: re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], text) for name, text in found.items()}


def list_probes(container: Object) -> Iterator[Object]:
    """Yield the probes of a container."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if name in container:
            yield container[name]
