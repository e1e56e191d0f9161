"""The part of MLflow's REST API that a run needs, within its limits."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from server.trackers.http_client import Call, RequestError, WebAddress, basic_authorization, send

LIMIT_S = 8.0
"""How long a request may take, except an upload."""

MOST_METRICS = 1_000
"""The most metrics that one request may contain."""

_MOST_PARAMETERS = 100
_LONGEST_PARAMETER = 6_000
_LONGEST_MESSAGE = 200
_UPLOAD_LIMIT_S = 60.0

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_HINTS = {
    _UNAUTHORIZED: "expected MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    _FORBIDDEN: "expected a user who may write there, and a host name that the MLflow server accepts",
    _NOT_FOUND: "expected the address of an MLflow server",
}


class Tracker:
    """An MLflow server. All methods raise `RequestError` if it does not answer or reports an error.

    Args:
        address: of the server.

    Attributes:
        limit_s: how long a request may take.
    """

    def __init__(self, address: WebAddress) -> None:
        self._address = address
        self.limit_s = LIMIT_S

    @classmethod
    def build(cls, url: str, user: str, password: str, token: str) -> "Tracker":
        """Build one from settings. A token takes precedence over a user name."""
        address = WebAddress.parse(url)
        headers = dict(address.headers)
        if token:
            headers = {"Authorization": f"Bearer {token}"}
        elif user:
            headers = basic_authorization(user, password)
        return cls(WebAddress(address.url, headers))

    @property
    def shown(self) -> str:
        """Its address, without secrets."""
        return self._address.shown

    def find_experiment(self, name: str) -> str:
        """Return the id of an experiment; create it if it does not exist."""
        try:
            found = self._get("experiments/get-by-name", experiment_name=name)
            return str(found["experiment"]["experiment_id"])
        except RequestError as error:
            if b"RESOURCE_DOES_NOT_EXIST" not in error.body:
                raise
        return str(self._post("experiments/create", name=name)["experiment_id"])

    def create_run(self, experiment_id: str, name: str, started_ms: int, tags: Mapping[str, str]) -> Any:
        """Create a run and return it as MLflow describes it."""
        content = {"experiment_id": experiment_id, "run_name": name, "start_time": started_ms}
        return self._post("runs/create", **content, tags=_list_entries(tags))["run"]

    def find_run(self, run_id: str) -> Any:
        """Return a run as MLflow describes it; None if it does not exist."""
        try:
            return self._get("runs/get", run_id=run_id)["run"]
        except RequestError as error:
            if b"RESOURCE_DOES_NOT_EXIST" in error.body:
                return None
            raise

    def update_run(self, run_id: str, status: str, **content: object) -> None:
        """Set the status of a run."""
        self._post("runs/update", run_id=run_id, status=status, **content)

    def log_parameters(self, run_id: str, values: Mapping[str, object]) -> None:
        """Add parameters, which MLflow does not allow to change later."""
        entries = _list_entries({name: as_parameter(value) for name, value in values.items()})
        for start in range(0, len(entries), _MOST_PARAMETERS):
            part = entries[start : start + _MOST_PARAMETERS]
            self._post("runs/log-batch", run_id=run_id, params=part)

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._post("runs/log-batch", run_id=run_id, tags=_list_entries(tags))

    def log_metrics(self, run_id: str, metrics: Sequence[Mapping[str, Any]]) -> None:
        """Add metrics. One with the same step and time as before is not added twice."""
        for start in range(0, len(metrics), MOST_METRICS):
            part = metrics[start : start + MOST_METRICS]
            self._post("runs/log-batch", run_id=run_id, metrics=part)

    def upload(self, path: Path, name: str) -> None:
        """Store a file through the server's artifact proxy.

        Raises:
            OSError: the file cannot be read.
        """
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
        with path.open("rb") as file:
            call = Call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{quote(name)}", file, headers)
            send(self._address, call, _UPLOAD_LIMIT_S)

    def _get(self, method: str, **query: str) -> Any:
        return self._call(Call("GET", f"/api/2.0/mlflow/{method}?{urlencode(query)}"))

    def _post(self, method: str, **content: object) -> Any:
        headers = {"Content-Type": "application/json"}
        return self._call(Call("POST", f"/api/2.0/mlflow/{method}", json.dumps(content).encode(), headers))

    def _call(self, call: Call) -> Any:
        try:
            return json.loads(send(self._address, call, self.limit_s) or b"{}")
        except ValueError:
            raise RequestError(f"{self.shown}: the answer is not JSON; {_HINTS[_NOT_FOUND]}") from None
        except RequestError as error:
            details = [str(error), _read_message(error.body), _HINTS.get(error.status or 0, "")]
            text = "; ".join(detail for detail in details if detail)
            raise RequestError(text, error.status, error.body) from None


def as_parameter(value: object) -> str:
    """Format a setting as a parameter, which MLflow limits in length."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_PARAMETER else text[: _LONGEST_PARAMETER - 3] + "..."


def _list_entries(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in values.items()]


def _read_message(body: bytes) -> str:
    """Return the message of an error; empty if it has none."""
    try:
        return str(json.loads(body)["message"])[:_LONGEST_MESSAGE]
    except (ValueError, KeyError, TypeError):
        return ""
