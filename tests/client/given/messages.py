"""The errors of readers of files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedmx.errors import DataError


def find_message(read: Callable[..., Any], path: Path, **how: Any) -> str:
    """Read a file with a mistake, and return the one line that names it and what was expected."""
    with pytest.raises(DataError) as caught:
        read(path, **how)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert "expected" in message
    return message
