"""A model on loopback that both agents take for a real one and that answers by `script`.

`python -m tests.support.model` runs it by hand and prints its port.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support import messages_api, responses_api
from tests.support.api import Api, Frame, Json
from tests.support.script import Failure, Gated, Reply, Silence, User, next_step

_APIS: dict[str, tuple[str, Api]] = {
    "/v1/messages": ("messages", messages_api),
    "/v1/responses": ("responses", responses_api),
}
# What the agents get when they ask for something beside the conversation, such as its title.
_ASIDE = Reply("Scripted title")
#: Seconds before a call of a tool. On a busy machine Claude Code (2.1.330) may leave a call unwritten until it writes
#: something else, as long as it works on it or asks its user; less often when it does not come within milliseconds.
_THOUGHT = 0.4
#: Seconds between two checks whether something is allowed by now.
_POLL_INTERVAL = 0.02


@dataclass(frozen=True)
class Request:
    """A request that the model received."""

    api: str
    path: str
    body: Json
    time: float
    user_text: str
    """The user's last own text, exactly as the model sees it: what the agent wrapped around it is still there."""

    @property
    def is_turn(self) -> bool:
        """Return whether it belongs to a conversation. Requests for titles and the like offer no tools."""
        return bool(self.body.get("tools"))


class ScriptedModel:
    """The model's server, from construction until `close`. `requests` holds every request received; `replied` is the
    time (epoch) at which the last byte of the latest reply to a conversation was sent. `refused` holds the addresses
    that were asked for from it as a proxy."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.replied = 0.0
        self.refused: list[str] = []
        self._allowed: set[str] = set()
        self._holds = 0
        # Readable, for every thread that waits, as soon as the other end is closed.
        self._stopped, self._stopper = socket.socketpair()
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Return the base URL of both APIs, without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    def turns(self) -> list[Request]:
        """Return the requests that belong to conversations."""
        return [request for request in self.requests if request.is_turn]

    def last_text(self) -> str:
        """Return the user's text of the latest conversation request."""
        return self.turns()[-1].user_text

    def forget(self) -> None:
        """Start a new record of requests."""
        self.requests = []

    def hold(self) -> None:
        """Allow nothing of what was allowed before, and let come what is held: the test that held it has ended."""
        self._allowed = set()
        self._holds += 1

    def allow(self, name: str) -> None:
        """Let everything come that is held until `name`, now and later."""
        self._allowed.add(name)

    def await_allowed(self, name: str, client: socket.socket) -> None:
        """Wait until `name` is allowed, or everything is held anew. Raises as `rest` does."""
        holds = self._holds
        while name not in self._allowed and holds == self._holds:
            self.rest(_POLL_INTERVAL, client)

    def close(self) -> None:
        """Stop, also in the middle of replies that are slow or never come."""
        self._stopper.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._stopped.close()

    def rest(self, seconds: float | None, client: socket.socket) -> None:
        """Wait, for ever when `seconds` is None. Raises ConnectionAbortedError as soon as the client has left or the
        server stops: a client that waits for its answer sends nothing, so a readable socket is a closed one."""
        if select.select([self._stopped, client], [], [], seconds)[0]:
            raise ConnectionAbortedError

    def await_request(self, client: socket.socket) -> None:
        """Wait until a client speaks; agents open connections before they need them. Raises as `rest` does."""
        if self._stopped in select.select([self._stopped, client], [], [])[0]:
            raise ConnectionAbortedError


class _Server(ThreadingHTTPServer):
    # So that `server_close` waits for the threads of all connections, which end at once when the model stops.
    daemon_threads = False

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that leaves or stalls; print any other error, which is a fault of the rig."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """A connection that carries one request, so that its thread ends with the reply."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    server: _Server

    def handle(self) -> None:
        self.server.model.await_request(self.connection)
        super().handle()

    def do_HEAD(self) -> None:
        self._send_head(200, "text/plain")

    def do_CONNECT(self) -> None:
        """Refuse to be a proxy: nothing leaves the machine."""
        self.server.model.refused.append(self.path)
        self._send_json(502, {"error": {"message": "this proxy connects to nothing"}})

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/v1/models":
            self._send_json(200, responses_api.MODELS)
        else:
            self._send_json(404, {"error": {"message": f"no such path: {self.path}"}})

    def do_POST(self) -> None:
        body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = urlsplit(self.path).path
        if path == "/v1/messages/count_tokens":
            self._send_json(200, messages_api.count(body))
        elif path in _APIS:
            self._answer(path, body)
        else:
            self._send_json(404, {"error": {"message": f"no such path: {path}"}})

    def _answer(self, path: str, body: Json) -> None:
        name, api = _APIS[path]
        conversation = api.conversation(body)
        said = [item.text for item in conversation if isinstance(item, User)]
        request = Request(name, self.path, body, time.time(), said[-1] if said else "")
        self.server.model.requests.append(request)
        step = next_step(conversation) if request.is_turn else _ASIDE
        if isinstance(step, Gated):
            self.server.model.await_allowed(step.name, self.connection)
            step = step.step
        match step:
            case Silence():
                self.server.model.rest(None, self.connection)
            case Failure():
                headers, error = api.error(step)
                self._send_json(step.status, error, headers)
            case Reply():
                self.server.model.rest(max(step.delay, _THOUGHT if step.calls else 0), self.connection)
                if body.get("stream"):
                    self._send_head(200, "text/event-stream")
                    for frame in api.stream(body, step):
                        self._send_frame(frame)
                    if request.is_turn:
                        self.server.model.replied = time.time()
                else:
                    self._send_json(200, api.whole(body, step))

    def _send_frame(self, frame: Frame) -> None:
        if frame.pause:
            self.server.model.rest(frame.pause, self.connection)
        self.wfile.write(frame.encode())

    def _send_json(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        self._send_head(status, "application/json", headers)
        self.wfile.write(json.dumps(body).encode())

    def _send_head(self, status: int, kind: str, headers: Mapping[str, str] | None = None) -> None:
        """Send the status and headers. There is no length: the body ends with the connection."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object, **__: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    with ScriptedModel() as by_hand, contextlib.suppress(KeyboardInterrupt):
        print(by_hand.port, flush=True)
        threading.Event().wait()
