"""Renewal: which certificates expire soon, and the warnings that a person should see."""

from collections.abc import Iterator

from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SERVER, SITE
from fedmx.pki.register import Issued


def renew(authority: Authority) -> list[Issued]:
    """Reissue what is damaged or expires soon: of the server, and of sites whose keys are here."""
    issued = [authority.issue_server()] if authority.find_need(SERVER) else []
    due = [name for name, _ in _find_due_sites(authority) if not authority.keeps_own_key(name)]
    return issued + [authority.issue_site(name) for name in due]


def find_due_requests(authority: Authority) -> dict[str, str]:
    """Return the sites that must send a request for their next certificate, each with the reason."""
    return {name: need for name, need in _find_due_sites(authority) if authority.keeps_own_key(name)}


def find_warnings(authority: Authority) -> list[str]:
    """Return warnings about unknown names in SERVER_NAMES and about an authority that expires soon."""
    warnings = authority.find_names().describe_unknown()
    expiry = authority.describe_expiry()
    return [*warnings, expiry] if expiry else warnings


def _find_due_sites(authority: Authority) -> Iterator[tuple[str, str]]:
    """Yield the sites that need another certificate and are not revoked, each with the reason."""
    newest = {one.name: one for one in authority.list() if one.role == SITE}
    for name, one in sorted(newest.items()):
        need = authority.find_need(SITE, name)
        if need and not one.is_revoked:
            yield name, need
