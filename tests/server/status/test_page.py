"""The page as a document: what is in it, and what its policy allows."""

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from server.status.page import CONTENT_SECURITY_POLICY, build_page, build_report
from tests.server.status.documents import make_document


def find_elements(text: str, name: str) -> list[str]:
    """Return the contents of elements as a browser finds them: each ends at the first end tag."""
    return re.findall(rf"<{name}\b[^>]*>(.*?)</{name}", text, re.DOTALL | re.IGNORECASE)


def read_data(text: str) -> Any:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script', text, re.DOTALL)
    return json.loads(found)


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("text", [build_page(), build_report(make_document(3, 2))])
def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else(text: str) -> None:
    [style] = find_elements(text, "style")
    _, script = find_elements(text, "script")
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == hash_of(script)
    assert rules["style-src"] == hash_of(style)


def test_the_live_page_may_ask_its_own_server_and_a_report_none() -> None:
    assert "connect-src 'self'" in build_page()
    assert "connect-src 'self'" in CONTENT_SECURITY_POLICY
    assert "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY
    assert "connect-src" not in build_report(make_document(1, 1))


def test_the_page_names_no_resource_outside_of_it() -> None:
    addresses = set(re.findall(r"\bhttps?://[^\s'\"]+", build_page()))
    # A namespace is a name.
    assert addresses == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--<script>", "{{script}}", "\u2028", "\ud800", "&lt;"]
)
def test_a_name_in_a_report_stays_data(name: str) -> None:
    text = build_report(make_document(1, 1, name=name))
    # A lone surrogate could not be encoded.
    assert len(find_elements(text.encode().decode(), "script")) == 2
    assert read_data(text)["run"]["name"] == name


def test_numbers_that_json_does_not_have_are_left_out_of_a_report() -> None:
    document = make_document(2, 1)
    document["curves"]["evaluate"]["loss"] = [float("nan"), float("inf")]
    assert read_data(build_report(document))["run"]["curves"]["evaluate"]["loss"] == [None, None]


def test_the_page_knows_the_default_and_the_meaning_of_each_setting() -> None:
    setting = read_data(build_page())["settings"]["NUM_ROUNDS"]
    assert setting["default"] == 3
    assert "rounds" in setting["meaning"]


def test_the_page_alone_is_small() -> None:
    assert len(build_page()) < 150_000
