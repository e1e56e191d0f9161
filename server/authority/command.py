"""`python -m server pki COMMAND`: commands of a federation's authority. See `fedmx.pki.authority`."""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from fedmx.errors import DataError, SettingsError
from fedmx.names import check_container
from fedmx.pki import renewal
from fedmx.pki.authority import LOCAL_SITE, Authority
from fedmx.pki.credentials import SITE
from fedmx.pki.csr import check_site_name
from fedmx.pki.register import Issued
from fedmx.program import ArgumentParser
from fedmx.settings import ClientSettings, CommonSettings, PkiSettings, environment, load
from fedmx.values import Address
from server.authority import bundle, listing


def main(arguments: Sequence[str]) -> None:
    """Carry out one command.

    Raises:
        SettingsError: the command is wrong.
        DataError: a file is missing, or does not do.
    """
    settings = load(PkiSettings)
    given = _make_parser().parse_args(arguments)
    authority = Authority(settings)
    with authority.alone():
        given.do(authority, given)


def _init(authority: Authority, _: argparse.Namespace) -> None:
    authority.make()
    print(f"made the authority in {authority.folder / 'authority'}; its key must stay secret, and there")


def _ensure(authority: Authority, given: argparse.Namespace) -> None:
    if given.container:
        check_container(environment())
        _check_clients_here(authority)
    _make_missing(authority)
    _warn_of_unknown_names(authority)
    _report(authority, authority.ensure())


def _check_clients_here(authority: Authority) -> None:
    """Check that the clients beside this server dial it: their certificates are of no use elsewhere.

    Raises:
        SettingsError: SERVER_ADDRESS is that of another server.
    """
    # What else is wrong with a client's settings is for the client to report.
    relevant = {
        name: text for name, text in environment().items() if name in ("SERVER_ADDRESS", "LINK_SECURITY")
    }
    settings = load(ClientSettings, environ=relevant)
    address, names = settings.server_address, authority.find_names().wanted
    if settings.link_security == "mtls" and bundle.find_fault_of_address(address, names):
        raise SettingsError(
            f"SERVER_ADDRESS={address}: not the server that starts here, whose names are {', '.join(names)};"
            f" for clients of a server elsewhere, write a bundle there (`make bundle SITE=NAME"
            f" SERVER_ADDRESS={address}`) and start them here with `make client BUNDLE=FOLDER`"
        )


def _make_missing(authority: Authority) -> None:
    if not authority.exists:
        authority.make()
        print(f"made the authority in {authority.folder / 'authority'}")


def _server(authority: Authority, _: argparse.Namespace) -> None:
    _make_missing(authority)
    _warn_of_unknown_names(authority)
    _report(authority, [authority.issue_server()])


def _warn_of_unknown_names(authority: Authority) -> None:
    names = authority.find_names()
    for name in names.unknown:
        known = ", ".join(names.current) or "none yet"
        _warn(f"SERVER_NAMES=-{name}: no such name in the server's certificate, which has {known}")


def _site(authority: Authority, given: argparse.Namespace) -> None:
    _report(authority, [_issue_site(authority, given.name)])


def _sign(authority: Authority, given: argparse.Namespace) -> None:
    _report(authority, [_issue_site(authority, given.name, given.request)])


def _issue_site(authority: Authority, name: str, request: str = "") -> Issued:
    """Issue a site's certificate, from its request if it keeps its own key."""
    was_revoked = authority.is_revoked(name)
    issued = authority.sign(_read_request(request), name) if request else authority.issue_site(name)
    if was_revoked:
        _warn(f"site {name} was revoked; its new certificate lets it take part again")
    return issued


def _list(authority: Authority, _: argparse.Namespace) -> None:
    issued = authority.list()
    if not issued:
        print("nothing was issued")
        return
    for line in listing.make_table(issued, datetime.now(UTC)):
        print(line)
    if names := authority.find_names().current:
        print(f"\nnames of the server: {', '.join(names)}")


def _revoke(authority: Authority, given: argparse.Namespace) -> None:
    for one in authority.revoke(given.name):
        print(f"revoked {one.role} {one.name}, serial {one.serial}; a running server drops it within 10 s")


def _renew(authority: Authority, _: argparse.Namespace) -> None:
    _warn_of_unknown_names(authority)
    issued = renewal.renew(authority)
    _report(authority, issued)
    waiting = renewal.find_due_requests(authority)
    for name, need in waiting.items():
        print(f"not renewed: site {name}: {need}; it keeps its own key, so it has to send a request")
    if not issued and not waiting:
        days = load(PkiSettings).renew_days
        print(f"nothing to renew: no certificate expires within RENEW_DAYS={days:g} days")


def _bundle(authority: Authority, given: argparse.Namespace) -> None:
    check_site_name(given.name)
    if given.name == LOCAL_SITE:
        raise DataError(f"site {given.name}: the clients on the server's machine; expected another name")
    need = authority.find_need(SITE, given.name)
    if need and authority.keeps_own_key(given.name) and not given.request:
        raise DataError(f"site {given.name}: {need}; it keeps its own key, expected its request (REQUEST)")
    if need or given.request:
        # Standard output is the archive.
        _report(authority, [_issue_site(authority, given.name, given.request)], sys.stderr)
    names = authority.find_names()
    if fault := bundle.find_fault_of_address(given.address, names.current or names.wanted):
        _warn(fault)
    site = _make_site(given.name, given.address)
    bundle.write(authority.folder_of(SITE, given.name), site, sys.stdout.buffer)


def _make_site(name: str, address: Address) -> bundle.Site:
    """Return what this server's settings decide for a site."""
    common, authority = load(CommonSettings), load(PkiSettings)
    project, version = authority.compose_project_name, authority.fedmx_version
    return bundle.Site(
        name=name,
        project=f"{project}-{name}",
        image=f"{project}-client:{version}",
        gpu_image=f"{project}-client-gpu:{version}",
        settings=ClientSettings(
            server_address=address,
            # With a limit, a server that is away for longer would lose an unattended site for good.
            server_wait_timeout=math.inf,
            max_model_bytes=common.max_model_bytes,
            link_security=common.link_security,
        ),
    )


def _warn(text: str) -> None:
    print(f"WARNING {text}", file=sys.stderr)


def _report(authority: Authority, issued: Iterable[Issued], out: IO[str] | None = None) -> None:
    for one in issued:
        print(one.describe(authority.folder_of(one.role, one.name)), file=out)


def _read_request(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a request for a certificate") from None


def _address(text: str) -> Address:
    try:
        return Address.parse_peer(text)
    except ValueError as error:
        raise SettingsError(f"SERVER_ADDRESS={text!r}: {error}") from None


def _make_parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="python -m server pki", description="Certificates of a federation, in PKI_DIR."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=ArgumentParser)

    def add(name: str, do: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(do=do)
        return command

    add("init", _init, "make the authority")
    words = "issue what the server and the clients on its machine lack, or what expires soon"
    in_compose = "look for wrong names in .env first"
    add("ensure", _ensure, words).add_argument("--container", action="store_true", help=in_compose)
    add("server", _server, "issue the server's certificate, for SERVER_NAMES and the names that it has")
    add("site", _site, "issue a site's certificate and key").add_argument("name")
    sign = add("sign", _sign, "issue the certificate of a site that keeps its own key")
    sign.add_argument("name")
    sign.add_argument("request", help="file of its request; - reads standard input")
    add("list", _list, "list certificates, which of them are current, and the server's names")
    add("revoke", _revoke, "revoke all certificates of a site").add_argument("name")
    add("renew", _renew, "renew what expires soon, of the server and of sites whose key is here")
    packed = add("bundle", _bundle, "write a site's archive to standard output")
    packed.add_argument("name")
    packed.add_argument("address", type=_address, help="host:port by which the site dials the server")
    packed.add_argument("--request", default="", help="file of its request, if it keeps its own key")
    return parser
