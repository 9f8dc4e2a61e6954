"""The container's side of the gateway: every operation as a request to the host."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

from dev_sessions import paths
from dev_sessions.attempt import Attempt, after_arrival, carrying
from dev_sessions.bulk import kill_each
from dev_sessions.deadline import Deadline
from dev_sessions.errors import InvalidRequest, ProtocolError, Relayed
from dev_sessions.gateway import replies, wire
from dev_sessions.gateway.connection import GatewayFailed, connect, parsed
from dev_sessions.models import DROPPED_MODELS, KillReport, Reply, Session
from dev_sessions.operations import (
    FIRST_WITH_ALL,
    Ask,
    Create,
    GetGoal,
    Inspect,
    Kill,
    KillMany,
    LastMessage,
    List,
    Logs,
    Operation,
    Respond,
    Send,
    Status,
    Wait,
)
from dev_sessions.parsing import Malformed

R = TypeVar("R")

_CONNECT_PATIENCE = 10.0
#: Seconds without a byte: a streamed answer shows every 30 s that it lives, the slowest other one is a create.
_STREAM_PATIENCE, _ANSWER_PATIENCE = 100.0, 600.0
#: What changes nothing, and can be asked again.
_READS = (GetGoal, Inspect, LastMessage, List, Logs, Status, Wait)


class GatewayTooOld(ProtocolError):
    """The gateway does not know an operation."""


class GatewayClient:
    """The transport of a container. `url` is `http://HOST:PORT` or `unix:///PATH`; `warn` takes a line for the user."""

    def __init__(self, url: str, token: str | None, warn: Callable[[str], None]) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._warn = warn

    def execute(self, operation: Operation[R]) -> R:
        """Have it done on the host. Raises what went wrong there as it would be raised here."""
        if isinstance(operation, Create) and operation.host is None:
            asked = replace(operation, path=host_path(operation.path))
            return self._honoured(asked, self._exchange(asked))  # type: ignore[return-value] # of a Create it is
        with carrying(operation) as attempt:
            try:
                return self._exchange(operation, attempt)
            except GatewayTooOld:
                # What the commands of 0.4 did was done by its client, in steps.
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
            waited = self._exchange(Wait(session_id=request.session_id, timeout=timeout))
            if waited.outcome == "waiting_for_input":
                return Reply("", waited.outcome)
            texts = self._exchange(LastMessage(session_id=request.session_id))
            return Reply(texts[-1] if texts else "", waited.outcome)

    def _kill_in_steps(self, request: KillMany) -> KillReport:
        return kill_each(
            request, self._exchange(List()).rows, lambda session: self._exchange(Kill(session_id=session.id)).notes
        )

    def _exchange(self, operation: Operation[R], attempt: Attempt | None = None) -> R:
        attempt = attempt or Attempt()
        route = wire.route_of(operation)
        status, data = self._request(route, operation, attempt)
        body = parsed(data)
        if status == HTTPStatus.NOT_FOUND and not route.is_kept:
            attempt.refused()
            raise GatewayTooOld(
                f"The gateway at {self._url} is too old for this command: update dev-sessions on the host to "
                f"{FIRST_WITH_ALL} or newer"
            )
        if body is None:
            reason = "the connection ended before the answer" if status == HTTPStatus.OK else f"HTTP {status}"
            raise self._failed(route, operation, reason)
        for line in body.get("warnings") or ():
            self._warn(str(line))
        if isinstance(operation, Wait) and body.get("ok") is False and "output" not in body and status == HTTPStatus.OK:
            self._explain(operation.session_id)
        try:
            return replies.result(route, operation, body)
        except Malformed as error:
            raise ProtocolError(
                f"The gateway at {self._url} gave an answer that makes no sense ({error}); update the older side"
            ) from error

    def _explain(self, session_id: str) -> None:
        """Say more of a wait that failed than a gateway of 0.4 does: it names the command, and nothing else."""
        self._exchange(Status(session_id=session_id))  # which says so when there is no such session, or it is lost
        raise Relayed(
            f"The wait for {session_id} failed, and its gateway is older than {FIRST_WITH_ALL} and does not say why: "
            f"dev-sessions logs {session_id}",
            1,
        )

    def _request(self, route: wire.Route, operation: Operation[Any], attempt: Attempt) -> tuple[int, bytes]:
        """The status and the body. GatewayFailed."""
        arguments = wire.to_arguments(route, operation)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        path, body = route.path, None
        if route.method == "POST":
            headers["Content-Type"] = "application/json"
            body = json.dumps(arguments).encode()
        elif arguments:
            path += f"?{urlencode(arguments)}"
        connection, prefix = connect(self._url, _CONNECT_PATIENCE)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except OSError as error:
                raise self._failed(route, operation, error.strerror or str(error), sent=False) from error
            connection.sock.settimeout(_STREAM_PATIENCE if route.is_streamed else _ANSWER_PATIENCE)
            attempt.begin()
            try:
                connection.request(route.method, prefix + path, body=body, headers=headers)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._failed(route, operation, str(error) or type(error).__name__) from error

    def _failed(self, route: wire.Route, operation: Operation[Any], reason: str, *, sent: bool = True) -> GatewayFailed:
        """`sent`: the gateway may have got the operation."""
        doubt = ""
        match operation:
            case Send(session_id=sid) | Ask(session_id=sid) | Respond(session_id=sid):
                arrived = f"it may have arrived, look before you repeat it: dev-sessions logs {sid}"
                reason = f"{reason}; {arrived if sent else 'nothing was typed'}"
            case _ if sent and not isinstance(operation, _READS):
                doubt = "Whether it was done is not known. "
        return GatewayFailed(
            f"Gateway request failed for {self._url}{route.path} ({reason}). {doubt}Is the gateway running? Start it "
            "with: dev-sessions gateway --port <port>"
        )

    def _honoured(self, asked: Create, session: Session) -> Session:
        """A gateway of 0.4 drops fields that it does not know. The session it made then is ended again."""
        missed = [
            f"--{name}"
            for name in ("id", "model")
            if (value := getattr(asked, name)) not in (None, *DROPPED_MODELS) and getattr(session, name) != value
        ]
        if asked.worktree is not None and session.worktree is None:
            missed.append("--worktree")
        if not missed:
            return session
        self._exchange(Kill(session_id=session.id))
        raise ProtocolError(
            f"The gateway at {self._url} is too old for {' and '.join(missed)}, so the session was ended again: update "
            f"dev-sessions on the host to {FIRST_WITH_ALL} or newer"
        )


def host_path(path: str | None) -> str:
    """What a path of this container is called on the host; None for the current directory.

    A path in the container's workspace is one below HOST_PATH there, wherever `..` and links lead within it; any other
    stays as it is. A current directory outside of the workspace stands for the whole of it. InvalidRequest.
    """
    workspace = paths.container_workspace()
    named = os.path.abspath(path or os.curdir)
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
