"""The composition root: which transport, which store, which backends. Everything is built on first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

import click

from dev_sessions import paths
from dev_sessions.errors import InvalidRequest

if TYPE_CHECKING:
    from dev_sessions.backends.base import Backend
    from dev_sessions.models import Cli, Session, Terminal
    from dev_sessions.operations import Operation, Transport
    from dev_sessions.routing import Relay, Router

R = TypeVar("R")


def warn(line: str) -> None:
    """Tell the user something that is no answer and no error."""
    click.echo(f"Warning: {line}", err=True, color=True)


class Application:
    """What the commands get: a transport, and nothing of what is behind it. `warn` takes a line for the user."""

    def __init__(self, transport: Transport | None = None, warn: Callable[[str], None] = warn) -> None:
        self._given = transport
        self._warn = warn

    def without_warnings(self) -> Application:
        """The same for what is asked again and again: nobody is warned of anything."""
        return Application(self._given, lambda _: None)

    def execute(self, operation: Operation[R]) -> R:
        """Do an operation, wherever it is to be done."""
        return self._transport.execute(operation)

    def terminal(self, session_id: str) -> Terminal:
        """The program that shows a session to a person at this terminal."""
        if paths.in_sandbox():
            raise InvalidRequest(
                f"A container cannot show a session of its host: run dev-sessions attach {session_id} on the host"
            )
        return make_router(warn).terminal(session_id)

    @cached_property
    def _transport(self) -> Transport:
        if self._given is not None:
            return self._given
        if paths.in_sandbox():
            from dev_sessions.gateway.client import GatewayClient

            return GatewayClient(paths.gateway_url(), paths.gateway_token(), self._warn)
        return make_router(self._warn)


def make_router(warn: Callable[[str], None]) -> Router:
    """The transport of a machine that has sessions of its own. `warn` takes a line for the user."""
    from dev_sessions.manager import SessionManager
    from dev_sessions.routing import Router
    from dev_sessions.store import Store

    store = Store(paths.store_file())
    backends: dict[Cli, Backend[Session]] = {}

    def backend(cli: Cli) -> Backend[Session]:
        if cli not in backends:
            backends[cli] = make_backend(cli, warn)
        return backends[cli]

    def relay(host: str, remote_bin: str, version: str | None) -> Relay:
        from dev_sessions.remote.relay import Relay as SshRelay

        return SshRelay(host, remote_bin, version, warn)

    return Router(store, SessionManager(store, backend, warn), relay, warn)


def make_backend(cli: Cli, warn: Callable[[str], None]) -> Backend[Session]:
    """The backend of one agent. Each takes sessions of its own kind only; the manager sees to that."""
    if cli == "claude":
        from dev_sessions.backends.claude import ClaudeBackend

        return cast("Backend[Session]", ClaudeBackend(warn))
    from dev_sessions.backends.codex import CodexBackend

    return cast("Backend[Session]", CodexBackend())
