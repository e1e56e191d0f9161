"""`python -m server pki COMMAND`: the commands of a federation's authority. See `fedmx.pki.authority`."""

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from fedmx import parsing
from fedmx.command_line import add_command, add_commands
from fedmx.deployment_settings import MAX_CLIENTS, PkiSettings
from fedmx.errors import DataError, SettingsError
from fedmx.log import printable
from fedmx.names import check_container
from fedmx.pki import renewal
from fedmx.pki.authority import LOCAL_SITE, Authority
from fedmx.pki.certificates import SITE
from fedmx.pki.csr import check_site_name
from fedmx.pki.register import Issued
from fedmx.program import ArgumentParser
from fedmx.settings import ClientSettings, CommonSettings, environment, load
from fedmx.values import Address
from server.authority import bundle, fleet, listing

_Action = Callable[[Authority, argparse.Namespace], None]

SUMMARY = "issue, list, renew and revoke the federation's certificates"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the commands and their arguments."""
    commands = add_commands(parser, "pki_command")

    def add(name: str, action: _Action, summary: str) -> ArgumentParser:
        command = add_command(commands, name, summary)
        command.set_defaults(action=action)
        return command

    add("init", _init, "create the authority")
    ensuring = add(
        "ensure", _ensure, "issue missing and expiring certificates of the server and local clients"
    )
    ensuring.add_argument("--container", action="store_true", help="check the names in .env first")
    fleet_ = add("fleet", _fleet, "the same as ensure, and write the files of a SuperLink fleet")
    fleet_.add_argument("--container", action="store_true", help="check the names in .env first")
    fleet_.add_argument("--supernodes", type=_parse_count, default=0, help="SuperNodes on this machine")
    add("ssh-key", _ssh_key, "print a site's public key in the form of OpenSSH").add_argument(
        "name", help="name of the site"
    )
    add("server", _server, "issue the server's certificate, for its current names and SERVER_NAMES")
    add("site", _site, "issue a site's certificate and key").add_argument("name", help="name of the site")
    signing = add("sign", _sign, "sign the request of a site that keeps its own key")
    signing.add_argument("name", help="name of the site")
    signing.add_argument("request", help="file of the signing request; - reads standard input")
    add("list", _list, "list certificates and the names of the server")
    add("renew", _renew, "renew expiring certificates, except of sites that keep their own keys")
    add("revoke", _revoke, "revoke all certificates of a site").add_argument("name", help="name of the site")
    bundling = add("bundle", _bundle, "write a site's bundle, an archive, to standard output")
    bundling.add_argument("name", help="name of the site")
    bundling.add_argument("address", type=_address, help="host:port by which the site connects to the server")
    bundling.add_argument("--request", default="", help="signing request of a site that keeps its own key")


def run(arguments: argparse.Namespace) -> None:
    """Carry out a command.

    Raises:
        SettingsError: a setting or an argument is not valid.
        DataError: a file is missing, cannot be read or written, or is not valid.
    """
    authority = Authority(load(PkiSettings))
    with authority.locked():
        arguments.action(authority, arguments)


def _init(authority: Authority, _: argparse.Namespace) -> None:
    authority.create()
    print(f"created the authority in {authority.folder / 'authority'}; keep its key there, and secret")


def _ensure(authority: Authority, arguments: argparse.Namespace) -> None:
    if arguments.container:
        check_container(environment())
        _check_clients_here(authority)
    _create_missing(authority)
    _warn(*renewal.find_warnings(authority))
    _report(authority, authority.ensure())


def _fleet(authority: Authority, arguments: argparse.Namespace) -> None:
    _ensure(authority, arguments)
    _report(authority, fleet.issue(authority, arguments.supernodes))
    members = fleet.write(authority, authority.folder / "fleet")
    print(f"sites that may join the fleet: {', '.join(members) or 'none'}")


def _ssh_key(authority: Authority, arguments: argparse.Namespace) -> None:
    check_site_name(arguments.name)
    print(fleet.encode_key(authority, arguments.name))


def _check_clients_here(authority: Authority) -> None:
    """Check that the clients beside this server connect to it: other servers refuse their certificates.

    Raises:
        SettingsError: SERVER_ADDRESS belongs to another server.
    """
    # The client itself reports all other problems with its settings.
    relevant = {
        name: text for name, text in environment().items() if name in ("SERVER_ADDRESS", "LINK_SECURITY")
    }
    settings = load(ClientSettings, environ=relevant)
    address = settings.server_address
    names = authority.find_names().wanted
    if settings.link_security == "mtls" and bundle.find_address_problem(address, names):
        raise SettingsError(
            f"SERVER_ADDRESS={address}: not this server; expected one of its names: {', '.join(names)}. For"
            f" clients of a server elsewhere, write a bundle there (`make bundle SITE=NAME"
            f" SERVER_ADDRESS={address}`) and start them here with `make client BUNDLE=FOLDER`"
        )


def _create_missing(authority: Authority) -> None:
    if not authority.exists:
        authority.create()
        print(f"created the authority in {authority.folder / 'authority'}")


def _server(authority: Authority, _: argparse.Namespace) -> None:
    _create_missing(authority)
    _warn(*renewal.find_warnings(authority))
    _report(authority, [authority.issue_server()])


def _site(authority: Authority, arguments: argparse.Namespace) -> None:
    _report(authority, [_issue_site(authority, arguments.name)])


def _sign(authority: Authority, arguments: argparse.Namespace) -> None:
    _report(authority, [_issue_site(authority, arguments.name, arguments.request)])


def _issue_site(authority: Authority, name: str, request: str = "") -> Issued:
    """Issue a site's certificate, from its request if it keeps its own key."""
    was_revoked = authority.is_revoked(name)
    issued = authority.sign(_read_request(request), name) if request else authority.issue_site(name)
    if was_revoked:
        _warn(f"site {name} was revoked; its new certificate lets it join again")
    return issued


def _list(authority: Authority, _: argparse.Namespace) -> None:
    issued = authority.list()
    if not issued:
        print("no certificates issued")
        return
    for line in listing.make_table(issued, datetime.now(UTC)):
        print(line)
    if names := authority.find_names().current:
        print(f"\nnames of the server: {', '.join(names)}")
    _warn(*renewal.find_warnings(authority))


def _revoke(authority: Authority, arguments: argparse.Namespace) -> None:
    for one in authority.revoke(arguments.name):
        print(
            f"revoked {one.role} {one.name}, serial {one.serial}; a running server disconnects it within 10 s"
        )


def _renew(authority: Authority, _: argparse.Namespace) -> None:
    _warn(*renewal.find_warnings(authority))
    issued = renewal.renew(authority)
    _report(authority, issued)
    due = renewal.find_due_requests(authority)
    for name, need in due.items():
        print(f"not renewed: site {name}: {need}; it keeps its own key and must send a request")
    if not issued and not due:
        days = authority.settings.renew_days
        print(f"nothing to renew: no certificate expires within RENEW_DAYS={days:g} days")


def _bundle(authority: Authority, arguments: argparse.Namespace) -> None:
    check_site_name(arguments.name)
    if arguments.name == LOCAL_SITE:
        raise DataError(
            f"site {arguments.name}: reserved for the clients on the server's machine; expected another name"
        )
    need = authority.find_need(SITE, arguments.name)
    if need and authority.keeps_own_key(arguments.name) and not arguments.request:
        raise DataError(
            f"site {arguments.name}: {need}; it keeps its own key; expected its request (REQUEST)"
        )
    if need or arguments.request:
        # The archive is written to standard output.
        _report(authority, [_issue_site(authority, arguments.name, arguments.request)], sys.stderr)
    names = authority.find_names()
    if problem := bundle.find_address_problem(arguments.address, names.current or names.wanted):
        _warn(problem)
    site = _make_site(authority.settings, arguments.name, arguments.address)
    bundle.write(authority.folder_of(SITE, arguments.name), site, sys.stdout.buffer)


def _make_site(settings: PkiSettings, name: str, address: Address) -> bundle.Site:
    """Return what this server's settings determine for a site."""
    common = load(CommonSettings)
    project = settings.compose_project_name
    version = settings.fedmx_version
    return bundle.Site(
        name=name,
        project=f"{project}-{name}",
        image=f"{project}-client:{version}",
        gpu_image=f"{project}-client-gpu:{version}",
        settings=ClientSettings(
            server_address=address,
            # With a limit, an unattended site would be lost for good when the server is down for longer.
            server_wait_timeout=math.inf,
            max_model_bytes=common.max_model_bytes,
            link_security=common.link_security,
        ),
    )


def _warn(*texts: str) -> None:
    for text in texts:
        print(f"WARNING {text}", file=sys.stderr)


def _report(authority: Authority, issued: Iterable[Issued], out: IO[str] | None = None) -> None:
    for one in issued:
        print(one.describe(authority.folder_of(one.role, one.name)), file=out)


def _read_request(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected the file of a signing request") from None


def _parse_count(text: str) -> int:
    try:
        return parsing.integer(at_least=0, at_most=MAX_CLIENTS)(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{printable(text)}: {error}") from None


def _address(text: str) -> Address:
    try:
        return Address.parse_peer(text)
    except ValueError as error:
        raise SettingsError(f"SERVER_ADDRESS={text!r}: {error}") from None
