"""The gateway's client, for containers: executes operations by HTTP requests to the host."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

from dev_sessions.attempt import Attempt, after_arrival, delivering_if_needed
from dev_sessions.errors import InvalidRequest, ProtocolError, Relayed, WaitTimedOut
from dev_sessions.gateway import http_codec
from dev_sessions.gateway.connection import GatewayFailed, connect, read_body
from dev_sessions.json_validation import Malformed
from dev_sessions.models import DROPPED_MODELS, KillReport, Reply, Session
from dev_sessions.operations import (
    FIRST_FULL_VERSION,
    Ask,
    Create,
    Interrupt,
    Kill,
    KillMany,
    LastMessage,
    List,
    Operation,
    Respond,
    Send,
    Status,
    Wait,
    is_read_only,
    timeout_message,
)
from dev_sessions.sessions.kill_each import kill_each
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import replace
from dev_sessions.system.json_object import parse_object
from dev_sessions.system.unix_address import socket_path

R = TypeVar("R")

_CONNECT_TIMEOUT = 10.0
#: Seconds without a byte: a streamed response has one every 30 s; the slowest other operation is a create.
_STREAM_TIMEOUT, _RESPONSE_TIMEOUT = 100.0, 600.0
#: Seconds in addition to an operation's own timeout: the gateway may have to wait for another machine, too.
MARGIN = 10.0


class GatewayTooOld(ProtocolError):
    """Raised when the gateway's version lacks an operation."""


class GatewayClient:
    """The transport of a container. `url` is `http://HOST:PORT` or `unix:///PATH`; `warn` prints a warning."""

    def __init__(self, url: str, token: str | None, warn: Callable[[str], None]) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._warn = warn

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation on the host. Raises its errors as they would be raised here."""
        if isinstance(operation, Create) and operation.host is None:
            asked = replace(operation, path=host_path(operation.path))
            return self._require_honoured(asked, self._exchange(asked))  # type: ignore[return-value] # of a Create it is
        with delivering_if_needed(operation) as attempt:
            try:
                return self._exchange(operation, attempt)
            except GatewayTooOld:
                # The client of version 0.4 executed these in steps.
                if isinstance(operation, Ask):
                    return self._ask_in_steps(operation, attempt)  # type: ignore[return-value] # as above
                if isinstance(operation, KillMany):
                    return self._kill_in_steps(operation)  # type: ignore[return-value] # as above
                raise

    def _ask_in_steps(self, request: Ask, attempt: Attempt) -> Reply:
        deadline = Deadline(request.timeout)
        self._exchange(Send(session_id=request.session_id, message=request.message), attempt)
        with after_arrival(request.session_id):
            timeout = max(1, math.ceil(deadline.remaining()))
            wait = Wait(session_id=request.session_id, timeout=timeout, through_limits=request.through_limits)
            waited = self._exchange(wait)
            if waited.outcome == "waiting_for_input":
                return Reply("", waited.outcome)
            texts = self._exchange(LastMessage(session_id=request.session_id))
            return Reply(texts[-1] if texts else "", waited.outcome)

    def _kill_in_steps(self, request: KillMany) -> KillReport:
        sessions = (row.session for row in self._exchange(List()).rows)
        return kill_each(
            sessions, lambda session: self._exchange(Kill(session_id=session.id)).notes, request.older_than
        )

    def _exchange(self, operation: Operation[R], attempt: Attempt | None = None) -> R:
        attempt = attempt or Attempt()
        route = http_codec.route_of(operation)
        status, data = self._request(route, operation, attempt)
        body = parse_object(data)
        if status == HTTPStatus.NOT_FOUND and not route.is_legacy:
            attempt.mark_rejected()
            raise GatewayTooOld(
                f"The gateway at {self._url} is too old for this command: update dev-sessions on the host to "
                f"{FIRST_FULL_VERSION} or newer"
            )
        if body is None:
            reason = "the connection ended before the answer" if status == HTTPStatus.OK else f"HTTP {status}"
            raise self._failed(route, operation, reason)
        for line in body.get("warnings") or ():
            self._warn(str(line))
        if isinstance(operation, Wait) and body.get("ok") is False and "output" not in body and status == HTTPStatus.OK:
            self._raise_wait_error(operation.session_id)
        try:
            return http_codec.decode_result(route, operation, body)
        except Malformed as error:
            raise ProtocolError(
                f"The gateway at {self._url} sent an invalid response ({error}); update dev-sessions on the older side"
            ) from error

    def _raise_wait_error(self, session_id: str) -> None:
        """Raise an error for a failed wait of version 0.4, whose response gives no reason."""
        self._exchange(Status(session_id=session_id))  # raises if there is no such session, or if it is lost
        raise Relayed(
            f"The wait for {session_id} failed, and its gateway is older than {FIRST_FULL_VERSION} and does not say"
            f" why: dev-sessions logs {session_id}",
            1,
        )

    def _request(self, route: http_codec.Route, operation: Operation[Any], attempt: Attempt) -> tuple[int, bytes]:
        """Send a request; return the status and the body. Raises GatewayFailed."""
        arguments = http_codec.encode_arguments(route, operation)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        path, body = route.path, None
        if route.method == "POST":
            headers["Content-Type"] = "application/json"
            body = json.dumps(arguments).encode()
        elif arguments:
            try:
                path += f"?{urlencode(arguments)}"
            except UnicodeEncodeError as error:
                raise InvalidRequest(f"{error.object!r} is not UTF-8 text; correct it") from error
        connection, prefix = connect(self._url, _CONNECT_TIMEOUT)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except OSError as error:
                if isinstance(error, PermissionError):
                    raise self._not_permitted(operation, error) from error
                raise self._failed(route, operation, error.strerror or str(error), sent=False) from error
            connection.sock.settimeout(_timeout(route, operation))
            attempt.begin()
            try:
                connection.request(route.method, prefix + path, body=body, headers=headers)
                response = connection.getresponse()
                return response.status, read_body(response)
            except TimeoutError as error:
                if isinstance(operation, Wait):
                    raise WaitTimedOut(
                        f"{timeout_message(operation)}, and {self._url} does not answer; wait again"
                    ) from error
                raise self._failed(route, operation, "no answer") from error
            except (OSError, http.client.HTTPException) as error:
                raise self._failed(route, operation, str(error) or type(error).__name__) from error

    def _failed(
        self, route: http_codec.Route, operation: Operation[Any], reason: str, *, sent: bool = True
    ) -> GatewayFailed:
        """Return the error for a failed request; `sent`: the gateway may have received the operation."""
        doubt = ""
        match operation:
            case Send(session_id=sid) | Ask(session_id=sid) | Respond(session_id=sid):
                arrived = f"it may have arrived, check before you repeat it: dev-sessions logs {sid}"
                reason = f"{reason}; {arrived if sent else 'nothing was typed'}"
            case _ if sent and not is_read_only(operation):
                doubt = "It is not known whether it was executed. "
        socket = socket_path(self._url)
        return GatewayFailed(
            f"Gateway request failed for {self._url}{route.path} ({reason}). {doubt}Is the gateway running? Start it "
            f"with: dev-sessions gateway {'--port <port>' if socket is None else f'--socket {socket}'}"
        )

    def _not_permitted(self, operation: Operation[Any], error: OSError) -> GatewayFailed:
        """Return the error for a sandbox that denies the connection."""
        nothing_typed = "; nothing was typed" if isinstance(operation, Send | Ask | Respond) else ""
        return GatewayFailed(
            f"This shell may not connect to the gateway at {self._url} ({error.strerror}{nothing_typed});"
            f" {pid_namespace.socket_advice()}"
        )

    def _require_honoured(self, asked: Create, session: Session) -> Session:
        """Return the session if it has all that was requested: version 0.4 ignores fields that it does not know."""
        ignored = [
            f"--{name}"
            for name in ("id", "model")
            if (value := getattr(asked, name)) not in (None, *DROPPED_MODELS) and getattr(session, name) != value
        ]
        if asked.worktree is not None and session.worktree is None:
            ignored.append("--worktree")
        if asked.args and session.agent_args != asked.args:
            ignored.append("options for the agent")
        if not ignored:
            return session
        self._exchange(Kill(session_id=session.id))
        raise ProtocolError(
            f"The gateway at {self._url} is too old for {' and '.join(ignored)}, so the session was ended again: "
            f"update dev-sessions on the host to {FIRST_FULL_VERSION} or newer"
        )


def _timeout(route: http_codec.Route, operation: Operation[Any]) -> float:
    """Return the seconds without a byte after which a gateway counts as hanging."""
    timeout = _STREAM_TIMEOUT if route.is_streamed else _RESPONSE_TIMEOUT
    if isinstance(operation, Ask | Wait | Interrupt):
        timeout = min(timeout, operation.timeout + MARGIN)
    return timeout


def host_path(path: str | None) -> str:
    """Translate a path of this container to the host; None means the current directory.

    A path in the container's workspace is translated to one below HOST_PATH, with `..` and links resolved; any other
    path is returned as it is. A current directory outside the workspace means the workspace itself. Raises
    InvalidRequest.
    """
    workspace = paths.container_workspace()
    named = os.path.abspath(path or os.curdir)
    if paths.shares_paths():
        return named
    real, real_workspace = os.path.realpath(named), os.path.realpath(workspace)
    is_inside = _is_below(real, real_workspace)
    if path is not None and not is_inside:
        return real if _is_below(named, workspace) else named
    host = paths.host_path()
    if host is None:
        raise InvalidRequest(
            f"{paths.HOST_PATH} is required when running in sandbox mode with {workspace} paths "
            f"(received {path or named})"
        )
    return os.path.normpath(os.path.join(host, os.path.relpath(real, real_workspace))) if is_inside else host


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))
