"""Who may join a fleet: the SuperLink registers the public keys of the authority's sites, and no others.

Flower does not tell which key a SuperNode was registered with. A file has that for the SuperNodes that were
registered here.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedmx.errors import DataError, RefusedError, UnreachableError
from fedmx.files import atomic_write, disk_errors
from fedmx.log import event
from server.fleet.flwr import Flwr

_GONE = ("unregistered", "deleted")
_PATIENCE_S = 60.0
_PARTS = 3
"""The kind, the key, and the name of a public key in the form of OpenSSH."""


@dataclass(frozen=True)
class Member:
    """A registered SuperNode.

    Attributes:
        node_id: the id that Flower gave it; empty while it is being registered.
        site: the site whose key it has.
    """

    node_id: str
    site: str


class Membership:
    """The SuperNodes of a SuperLink.

    Args:
        flwr: Flower's command line.
        path: file with the SuperNodes that were registered here, by their keys.
    """

    def __init__(self, flwr: Flwr, path: Path) -> None:
        self._flwr = flwr
        self._path = path

    def update(self, members_file: Path) -> None:
        """Register every site in a file, and unregister SuperNodes of sites that are not in it.

        Raises:
            DataError: a file cannot be read or written, or is not valid.
            RefusedError: the SuperLink refused a command, or keys of sites; all others are registered.
            UnreachableError: no SuperLink answers.
        """
        wanted = dict(_read_keys(members_file))
        registered = _complete(self._read(), self._list())
        self._write(registered)
        for key in registered.keys() - wanted.keys():
            one = registered.pop(key)
            self._flwr.ask("supernode", "unregister", one.node_id)
            self._write(registered)
            event("supernode unregistered", site=one.site, node_id=one.node_id)
        self._register_missing(wanted, registered)

    def _register_missing(self, wanted: Mapping[str, str], registered: dict[str, Member]) -> None:
        """Register the sites that are not registered yet.

        Raises:
            RefusedError: the SuperLink refused keys of sites; all others are registered.
        """
        refused: dict[str, RefusedError] = {}
        for key, site in wanted.items():
            if key in registered:
                continue
            # If this program is killed, the next one finds out whether the SuperLink has the key.
            registered[key] = Member("", site)
            self._write(registered)
            try:
                registered[key] = Member(self._register(key, site), site)
            # One site must not keep the others out.
            except RefusedError as error:
                refused[site] = error
                del registered[key]
            else:
                event("supernode registered", site=site, node_id=registered[key].node_id)
            self._write(registered)
        if refused:
            site, reason = next(iter(refused.items()))
            raise RefusedError(
                f"{reason}; cannot register {', '.join(refused)}: Flower refuses a key for good once it was"
                f" unregistered; expected a new key (`make pki-revoke NAME={site}`, then `make pki-site"
                f" NAME={site}` or the site's new request)"
            )

    def _list(self) -> list[Mapping[str, str]]:
        """Return the SuperNodes; a SuperLink that has just started may not answer at once."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                found: list[Mapping[str, str]] = self._flwr.ask("supernode", "list")["nodes"]
            except UnreachableError:
                if time.monotonic() > deadline:
                    raise
            else:
                return found

    def _register(self, key: str, site: str) -> str:
        path = self._flwr.folder / f"{site}.pub"
        path.write_text(f"{key} {site}\n")
        return str(self._flwr.ask("supernode", "register", str(path), "--name", site)["node-id"])

    def _read(self) -> dict[str, Member]:
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DataError(f"{self._path}: {error.strerror}; expected a file that can be read") from None
        try:
            return {key: Member(**values) for key, values in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError):
            raise DataError(
                f"{self._path}: not a list of SuperNodes; expected the file that this program wrote, or none"
            ) from None

    def _write(self, registered: Mapping[str, Member]) -> None:
        values = {key: {"node_id": one.node_id, "site": one.site} for key, one in registered.items()}
        with atomic_write(self._path, 0o644) as file:
            file.write(json.dumps(values, indent=2).encode())


def _complete(registered: Mapping[str, Member], listed: Iterable[Mapping[str, str]]) -> dict[str, Member]:
    """Return the SuperNodes that the SuperLink still has, by their keys.

    Another command may have unregistered one. A registration that was interrupted has the newest SuperNode
    that was not registered by a complete one, if there is any.
    """
    created = {str(node["node-id"]): node["created-at"] for node in listed if node["status"] not in _GONE}
    known = {key: one for key, one in registered.items() if one.node_id in created}
    others = created.keys() - {one.node_id for one in known.values()}
    for key, one in registered.items():
        if not one.node_id and others:
            newest = max(others, key=created.__getitem__)
            others.remove(newest)
            known[key] = Member(newest, one.site)
    return known


def _read_keys(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each public key and its site.

    Raises:
        DataError: the file cannot be read, or a line is not a public key.
    """
    with disk_errors(path, reads=True):
        lines = path.read_text().splitlines()
    for line in lines:
        parts = line.split()
        if len(parts) != _PARTS:
            raise DataError(f"{path}: not a list of public keys; expected what `pki fleet` writes")
        yield " ".join(parts[:2]), parts[2]
