"""The URL of a page to watch."""

import pytest

from fedmx.errors import SettingsError
from server.watching.source import StatusPage


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@127.0.0.1:8081/",
        "user:s3cret@127.0.0.1:8081",
        "http://s3cret@127.0.0.1",
        "http://user:s3cret/1@127.0.0.1/",
        "http://user:s3cret@[::1/",
        "ftp://user:s3cret@127.0.0.1/",
    ],
)
def test_a_url_with_a_password_is_refused_without_naming_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        StatusPage(url)
    assert caught.value.exit_code == 2
    assert "s3cret" not in str(caught.value)


def test_a_path_may_contain_an_at_sign() -> None:
    assert StatusPage("http://127.0.0.1/@hospital").url == "http://127.0.0.1/@hospital/"
