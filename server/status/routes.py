"""The paths of the status server: `/`, `/healthz`, `/status.json`, `/runs/ID.json` and `/metrics`."""

import threading
from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from server.status.live import FAILED, LiveRun
from server.status.page import CONTENT_SECURITY_POLICY, build_page
from server.status.readers import Readers
from server.status.replies import Body, Cached, Watched
from server.status.stored import StoredRuns

# How long watchers have to read how the run ended.
_LAST_LOOK_S = 3.0
_LONGEST_NAME = 300


class Routes:
    """Answers requests. Its methods are called on the thread of the event loop.

    Args:
        live: the run of this server.
        stored: the runs on disk.

    Attributes:
        final_metrics_were_read: set once the metrics of the ended run were sent.
    """

    def __init__(self, live: LiveRun, stored: StoredRuns) -> None:
        self.final_metrics_were_read = threading.Event()
        self._readers = Readers()
        self._live = live
        self._stored = stored
        self._page = Body.build(build_page().encode(), "text/html; charset=utf-8")
        self._status = Watched(Cached(lambda: live.build_status(stored.text), live.executor))
        self._run = Cached(live.build_run, live.executor)
        self._metrics = Cached(live.build_metrics, live.executor)

    def build_app(self) -> Starlette:
        """Build the app."""
        return Starlette(
            routes=[
                Route("/", self._send_page),
                Route("/healthz", self._send_health),
                Route("/status.json", self._send_status),
                Route("/runs/{run_id}.json", self._send_run),
                Route("/metrics", self._send_metrics),
            ]
        )

    def await_final_status(self) -> None:
        """Wait until open pages have read how the run ended. Called on another thread."""
        self._readers.wait(_LAST_LOOK_S)

    async def _send_page(self, request: Request) -> Response:
        return self._page.reply_to(request, **{"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    async def _send_health(self, _: Request) -> Response:
        live = self._live
        known = {"state": live.state, "run_id": live.run_id or None, "round": live.round}
        return JSONResponse(known, 503 if live.state == FAILED else 200)

    async def _send_status(self, request: Request) -> Response:
        reader = _name_reader(request)
        self._readers.note(reader)
        await self._stored.refresh(self._live.state)
        body = await self._status.get(self._live.state)
        return _note_reading(
            body.reply_to(request), request, body, partial(self._readers.note, reader, is_final=True)
        )

    async def _send_run(self, request: Request) -> Response:
        run_id = request.path_params["run_id"]
        # The own run changes with every round, and is in memory.
        is_own = run_id == self._live.run_id
        body = await (self._run.get(run_id) if is_own else self._stored.find(run_id))
        if body is None:
            return PlainTextResponse("no such run\n", 404)
        return body.reply_to(request)

    async def _send_metrics(self, request: Request) -> Response:
        body = await self._metrics.get(self._live.state)
        return _note_reading(body.reply_to(request), request, body, self.final_metrics_were_read.set)


def _note_reading(response: Response, request: Request, body: Body, note: Callable[[], None]) -> Response:
    """Call a function after a final body was sent."""
    if body.is_final and request.method == "GET":
        response.background = BackgroundTask(note)
    return response


def _name_reader(request: Request) -> str:
    """Return a key that distinguishes readers, even a browser and a terminal on one machine."""
    host = request.client.host if request.client else ""
    return f"{host} {request.headers.get('user-agent', '')}"[:_LONGEST_NAME]
