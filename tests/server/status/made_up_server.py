"""A server of the live page whose status a test decides."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from server.status.page import CONTENT_SECURITY_POLICY, build_page


class Server(ThreadingHTTPServer):
    # A browser opens several connections at once; beyond the five by default, a busy machine drops some.
    request_queue_size = 128


class MadeUpServer:
    """Serves the page, a status, and documents of runs.

    Attributes:
        status: what `/status.json` is.
        runs: what `/runs/ID.json` is, by id.
    """

    def __init__(self, port: int = 0) -> None:
        self.status: dict[str, Any] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = outer._find(self.path)
                body = (content or "").encode()
                self.send_response(404 if content is None else 200)
                is_page = self.path == "/"
                self.send_header(
                    "Content-Type", "text/html; charset=utf-8" if is_page else "application/json"
                )
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.stop()

    def _find(self, path: str) -> str | None:
        if path == "/":
            return build_page()
        if path == "/status.json":
            return json.dumps(self.status)
        run = self.runs.get(path.removeprefix("/runs/").removesuffix(".json"))
        return None if run is None else json.dumps(run)
