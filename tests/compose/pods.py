"""Runs the pods of a manifest with Docker: settings, user, volumes and limits as a kubelet sets them."""

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compose.stack import PATIENCE_S
from tests.kubernetes.manifests import Object, Workload, read_environment

_BYTES = {"Mi": 1024**2, "Gi": 1024**3}


def run_docker(*arguments: str, given: bytes | None = None) -> str:
    """Return the output of a command that has to succeed."""
    done = subprocess.run(
        ["docker", *arguments], input=given, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, (arguments, done.stderr.decode())
    return done.stdout.decode()


@dataclass
class Cluster:
    """A network with pods, under names of its own.

    Attributes:
        name: what the names of the network, the volumes and the containers begin with.
        objects: the manifest.
        images: image in the manifest -> image to run.
        settings: variables that the user's kustomization adds.
        hosts: names of services whose address stays, with the address.
    """

    name: str
    objects: Sequence[Object]
    images: Mapping[str, str]
    settings: dict[str, str]
    hosts: dict[str, str] = field(default_factory=dict)
    _volumes: list[str] = field(default_factory=list)
    _containers: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Create the network."""
        run_docker("network", "create", self.name)

    def end(self) -> None:
        """Remove everything."""
        for kind, names in (("rm", self._containers), ("volume", self._volumes), ("network", [self.name])):
            command = ["docker", kind] if kind == "rm" else ["docker", kind, "rm"]
            subprocess.run([*command, "--force", *names], capture_output=True, check=False)
            if kind == "network":
                subprocess.run(["docker", kind, "rm", *names], capture_output=True, check=False)

    def add_secret(self, name: str, files: Mapping[str, bytes], workload: Workload) -> None:
        """Create the volumes of a pod that have a Secret.

        A kubelet mounts links into a folder, which it replaces when the Secret changes.
        """
        group = workload.pod["securityContext"]["fsGroup"]
        for volume in workload.volumes.values():
            secret = volume.get("secret", {})
            if secret.get("secretName") == name:
                items = secret.get("items") or [{"key": file, "path": file} for file in files]
                content = {item["path"]: files[item["key"]] for item in items}
                archive = _write_secret(content, secret["defaultMode"], group)
                self._add_volume(f"{name}-{volume['name']}", archive)

    def add_claim(self, name: str, workload: Workload, files: Mapping[str, bytes] | None = None) -> None:
        """Create a volume as a kubelet mounts a disk, which has a folder that only root may read."""
        archive = _Archive(workload.pod["securityContext"]["fsGroup"])
        archive.add_folder(".", 0o2775)
        archive.add_folder("lost+found", 0o700, group=0)
        for file, content in (files or {}).items():
            archive.add_file(file, content, 0o664)
        self._add_volume(name, archive)

    def start(self, name: str, workload: Workload, *aliases: str) -> None:
        """Start a pod; its containers are `name`, and `name-CONTAINER` for each further one."""
        first, *others = workload.containers
        network = [
            *("--network", self.name),
            *(word for alias in aliases for word in ("--network-alias", alias)),
            *(word for host, address in self.hosts.items() for word in ("--add-host", f"{host}:{address}")),
        ]
        self._start_container(name, workload, first, network)
        for container in others:
            shared = ["--network", f"container:{self._name(name)}"]
            self._start_container(f"{name}-{container['name']}", workload, container, shared)

    def _start_container(
        self, name: str, workload: Workload, container: Object, network: Sequence[str]
    ) -> None:
        environment = {**read_environment(self.objects, container), **self.settings}
        options = [
            *network,
            *(word for key, text in environment.items() for word in ("--env", f"{key}={text}")),
            *_list_limits(workload.pod, container),
            *(word for mount in container["volumeMounts"] for word in self._mount(workload, mount)),
        ]
        self._containers.append(self._name(name))
        image = self.images[container["image"]]
        command = container.get("command", ())
        run_docker("run", "--detach", "--name", self._name(name), *options, image, *command)

    def run_in(self, name: str, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command in a pod, as a probe does."""
        return subprocess.run(
            ["docker", "exec", self._name(name), *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def find_address(self, name: str) -> str:
        """Return the address of a pod."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run_docker("inspect", "--format", template, self._name(name)).strip()

    def is_running(self, name: str) -> bool:
        """Return whether a pod has not ended."""
        return (
            json.loads(run_docker("inspect", "--format", "{{json .State.Running}}", self._name(name))) is True
        )

    def stop(self, name: str, workload: Workload) -> int:
        """Stop a pod within its grace period, and return the exit code of its container."""
        run_docker("stop", "--time", str(workload.pod["terminationGracePeriodSeconds"]), self._name(name))
        return self.wait(name)

    def wait(self, name: str) -> int:
        """Wait for the end of a pod, and return the exit code of its container."""
        return int(run_docker("wait", self._name(name)))

    def log(self, name: str) -> str:
        done = subprocess.run(
            ["docker", "logs", self._name(name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return done.stdout

    def _name(self, name: str) -> str:
        return f"{self.name}-{name}"

    def _add_volume(self, name: str, archive: "_Archive") -> None:
        self._volumes.append(self._name(name))
        run_docker("volume", "create", self._name(name))
        image = next(iter(self.images.values()))
        mount = f"{self._name(name)}:/volume"
        command = ("tar", "--extract", "--same-permissions", "--numeric-owner", "--directory", "/volume")
        # Without `nocopy`, the engine would copy what an image has at this path.
        options = ("--rm", "--interactive", "--user", "0:0", "--network", "none", "--volume", mount)
        run_docker("run", *options, image, *command, given=archive.close())

    def _mount(self, workload: Workload, mount: Object) -> list[str]:
        volume = workload.volumes[mount["name"]]
        path = mount["mountPath"]
        if "emptyDir" in volume:
            size = _read_bytes(volume["emptyDir"]["sizeLimit"])
            group = workload.pod["securityContext"]["fsGroup"]
            return ["--tmpfs", f"{path}:size={size},mode=2777,gid={group}"]
        name = (
            volume["persistentVolumeClaim"]["claimName"]
            if "persistentVolumeClaim" in volume
            else f"{volume['secret']['secretName']}-{mount['name']}"
        )
        access = "ro" if mount.get("readOnly") else "rw"
        return ["--volume", f"{self._name(name)}:{path}:{access},nocopy"]


class _Archive:
    """A volume's content with owners, modes and links."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._bytes = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._bytes, mode="w")  # noqa: SIM115 - `close` closes it

    def add_folder(self, path: str, mode: int, group: int | None = None) -> None:
        entry = self._begin(path, mode)
        entry.type = tarfile.DIRTYPE
        entry.gid = self._group if group is None else group
        self._tar.addfile(entry)

    def add_link(self, path: str, target: str) -> None:
        entry = self._begin(path, 0o777)
        entry.type = tarfile.SYMTYPE
        entry.linkname = target
        self._tar.addfile(entry)

    def add_file(self, path: str, content: bytes, mode: int) -> None:
        entry = self._begin(path, mode)
        entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))

    def close(self) -> bytes:
        self._tar.close()
        return self._bytes.getvalue()

    def _begin(self, path: str, mode: int) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(path)
        entry.mode = mode
        entry.gid = self._group
        return entry


def _write_secret(files: Mapping[str, bytes], mode: int, group: int) -> _Archive:
    written = "..2026_11_26_18_00_00.000000001"
    archive = _Archive(group)
    archive.add_folder(".", 0o3777)
    archive.add_folder(written, 0o2755)
    for file, content in files.items():
        archive.add_file(f"{written}/{file}", content, mode)
        archive.add_link(file, f"..data/{file}")
    archive.add_link("..data", written)
    return archive


def _list_limits(pod: Object, container: Object) -> list[str]:
    """Return Docker's options for the security context and the limits of a container."""
    user, security = pod["securityContext"], container["securityContext"]
    limits: Mapping[str, Any] = container["resources"]["limits"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    return [
        *("--user", f"{user['runAsUser']}:{user['runAsGroup']}", "--group-add", str(user["fsGroup"])),
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--cpus", str(limits["cpu"]), "--memory", str(_read_bytes(limits["memory"]))),
    ]


def _read_bytes(quantity: str) -> int:
    return int(quantity[:-2]) * _BYTES[quantity[-2:]]


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, as `kubectl create secret --from-file` reads them."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
