"""Settings that are free text."""

import json

import pytest

from fedmx import texts
from fedmx.errors import SettingsError
from fedmx.fields import describe
from fedmx.settings import ServerSettings, load
from fedmx.values import Address


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31m", "x" * 101])
def test_a_title_is_one_printable_line(text: str) -> None:
    with pytest.raises(ValueError, match="expected one line"):
        texts.title(text)


def test_notes_may_have_several_lines_but_no_control_characters() -> None:
    assert texts.notes("first\nsecond") == "first\nsecond"
    with pytest.raises(ValueError, match="printable"):
        texts.notes("first\x07")


def test_tags_are_stripped_and_each_is_kept_once() -> None:
    assert texts.tags(" mlp, iid ,,mlp") == ("mlp", "iid")
    with pytest.raises(ValueError, match="at most 20 tags"):
        texts.tags(",".join(map(str, range(21))))


@pytest.mark.parametrize("text", ["http://localhost:5000", "https://user:pass@mlflow.example.org/path"])
def test_an_address_of_a_web_server_is_returned_as_it_is(text: str) -> None:
    assert texts.web_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "localhost:5000",
        "ftp://host/",
        "https://",
        "http://host:x/",
        "http://host:0/",
        "http://a b/",
        "http://[::",
    ],
)
def test_what_is_no_address_of_a_web_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address such as"):
        texts.web_address(text)


@pytest.mark.parametrize("text", ["https://host/?token=s3cret", "https://host/path#s3cret"])
def test_the_address_of_a_tracker_has_no_query_but_a_webhook_may_have_one(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^MLFLOW_TRACKING_URI=\(hidden\): ") as caught:
        load(ServerSettings, environ={"MLFLOW_TRACKING_URI": text})
    assert "s3cret" not in str(caught.value)
    assert load(ServerSettings, environ={"ON_END_WEBHOOK": text}).on_end_webhook == text


@pytest.mark.parametrize("text", ["s3cret\nnext", "s3cret \u20ac", "s3cret two", "s3cret\0"])
def test_a_token_that_no_header_can_contain_is_refused_without_naming_it(text: str) -> None:
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_TOKEN") as caught:
        load(ServerSettings, environ={"MLFLOW_TRACKING_TOKEN": text})
    assert "s3cret" not in str(caught.value)


def test_a_secret_is_neither_recorded_nor_named_in_an_error() -> None:
    settings = load(
        ServerSettings, environ={"ON_END_WEBHOOK": "https://host/s3cret", "MLFLOW_TRACKING_TOKEN": "t0ken"}
    )
    assert settings.on_end_webhook == "https://host/s3cret"
    recorded = json.dumps(describe(settings))
    assert "s3cret" not in recorded
    assert "t0ken" not in recorded
    assert describe(settings)["ON_END_WEBHOOK"] == "(hidden)"
    assert describe(settings)["MLFLOW_TRACKING_URI"] == ""
    with pytest.raises(SettingsError, match=r"^ON_END_WEBHOOK=\(hidden\): expected an address") as caught:
        load(ServerSettings, environ={"ON_END_WEBHOOK": "s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"), [("off", None), ("OFF", None), ("", None), ("127.0.0.1:0", Address("127.0.0.1", 0))]
)
def test_the_page_that_shows_a_run_can_be_off(text: str, address: Address | None) -> None:
    assert load(ServerSettings, environ={"STATUS_ADDRESS": text}).status_address == address
