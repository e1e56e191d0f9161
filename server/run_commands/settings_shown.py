"""The settings that are worth showing: those that differ from the defaults, or between runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from fedmx.fields import describe
from fedmx.settings import NOT_COMPARED, ServerSettings

Settings = Mapping[str, Any]

# The first three are shown beside the id of the run. `make run` and the containers choose the others.
_NOT_SHOWN = ("RUN_NAME", "RUN_NOTES", "RUN_TAGS", *NOT_COMPARED)


def list_changed(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from this version's defaults, those that shape the model first."""
    defaults = describe(ServerSettings())
    names = [name for name, value in settings.items() if name not in defaults or defaults[name] != value]
    return {name: show(settings[name]) for name in _sort(names)}


def list_differing(runs: Sequence[Settings]) -> dict[str, list[str]]:
    """Return the settings in which runs differ, with the value of each run.

    The value is `-` if the version of fedmx that trained the run did not have the setting.
    """
    names = dict.fromkeys(name for settings in runs for name in settings)
    found = {
        name: [show(settings[name]) if name in settings else "-" for settings in runs]
        for name in _sort(list(names))
    }
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def show(value: object) -> str:
    """Format a setting as it is given in the environment."""
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _sort(names: Sequence[str]) -> list[str]:
    shaping = {field.name.upper() for field in fields(ServerSettings) if field.metadata["shapes_model"]}
    shown = [name for name in names if name not in _NOT_SHOWN]
    # Facts that are not settings, such as the task, have names in lower case and come first.
    return sorted(shown, key=lambda name: (name.isupper(), name not in shaping))
