"""The documents show commands in an order that works."""

import re
from pathlib import Path

SITES = Path("docs/operating/sites.md").read_text()


def test_the_sites_page_writes_bundles_before_it_starts_a_server_that_waits_for_them() -> None:
    for heading in ("## On the server's machine", "## Without Docker"):
        section = SITES[SITES.index(heading) :]
        commands = [line for line in section.splitlines() if line.startswith("$ ")]
        bundle = next(i for i, line in enumerate(commands) if re.search(r"(make|pki) bundle ", line))
        server = next(i for i, line in enumerate(commands) if re.search(r"(up .*|-m )server$", line))
        assert bundle < server
        assert "CLIENT_WAIT_TIMEOUT=0" in "".join(commands[bundle : server + 1])
