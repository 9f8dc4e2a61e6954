"""The composition root: chooses the transport, the store and the backends. Everything is built on first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, TypeVar, cast

import click

from dev_sessions.errors import InvalidRequest
from dev_sessions.system import paths

if TYPE_CHECKING:
    from dev_sessions.agent import Backend
    from dev_sessions.models import Cli, Session, Terminal
    from dev_sessions.operations import Operation, Transport
    from dev_sessions.remote.relay import Relay
    from dev_sessions.routing import Router
    from dev_sessions.sessions.context import Context

R = TypeVar("R")


def warn(line: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"Warning: {line}", err=True, color=True)


class Application:
    """The object passed to every command: executes operations, wherever they are to be executed.

    `warn` prints a warning.
    """

    def __init__(self, transport: Transport | None = None, warn: Callable[[str], None] = warn) -> None:
        self._given = transport
        self._warn = warn

    def without_warnings(self) -> Application:
        """Return an application that prints no warnings, for polling."""
        return Application(self._given, lambda _: None)

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation. Raises the errors of `dev_sessions.errors`."""
        return self._transport.execute(operation)

    def terminal(self, session_id: str) -> Terminal:
        """Return the program that shows a session in this terminal."""
        if paths.uses_gateway():
            raise InvalidRequest(
                f"A container cannot attach to a session of its host; run on the host: dev-sessions attach {session_id}"
            )
        return self._router.terminal(session_id)

    def running_in(self) -> set[str]:
        """Return the ids of the sessions of this machine in which this very process runs; none in a container."""
        return set() if self._given is not None or paths.uses_gateway() else self._router.running_in()

    @cached_property
    def _transport(self) -> Transport:
        if self._given is not None:
            return self._given
        if paths.uses_gateway():
            from dev_sessions.gateway.client import GatewayClient
            from dev_sessions.gateway.tokens import container_token

            return GatewayClient(paths.gateway_url(), container_token(), self._warn)
        return self._router

    @cached_property
    def _router(self) -> Router:
        return make_router(self._warn)


def make_router(warn: Callable[[str], None]) -> Router:
    """Return the transport of a machine that runs sessions; `warn` prints a warning."""
    from dev_sessions.routing import Router
    from dev_sessions.sessions.manager import SessionManager

    context = make_context(warn)

    def relay(host: str, remote_bin: str, version: str | None) -> Relay:
        from dev_sessions.remote.relay import Relay

        return Relay(host, remote_bin, version, warn)

    return Router(context.store, SessionManager(context), relay, warn)


def make_context(warn: Callable[[str], None]) -> Context:
    """Return the store of this machine with the backends, each created when it is first used."""
    from dev_sessions.sessions.context import Context
    from dev_sessions.sessions.store import Store

    return Context(Store(paths.store_file()), cache(partial(make_backend, warn=warn)), warn)


def make_backend(cli: Cli, warn: Callable[[str], None]) -> Backend[Session]:
    """Return the backend of an agent. The cast is safe as the manager passes it only sessions of that agent."""
    if cli == "claude":
        from dev_sessions.claude.backend import ClaudeBackend

        return cast("Backend[Session]", ClaudeBackend(warn))
    from dev_sessions.codex.backend import CodexBackend

    return cast("Backend[Session]", CodexBackend(warn))
