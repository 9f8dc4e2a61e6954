"""SessionManager: executes operations on the sessions of this machine, whichever agent runs in them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from dev_sessions import operations
from dev_sessions.models import Session, Terminal
from dev_sessions.operations import Create, Operation
from dev_sessions.sessions.context import Context

R = TypeVar("R")

#: Operation -> its function in this package, which takes the context and the operation; imported when it is used.
FUNCTIONS: dict[type[Operation[Any]], str] = {
    operations.Create: "create.create",
    operations.Fork: "fork.fork",
    operations.Send: "send.send",
    operations.Ask: "send.ask",
    operations.Wait: "wait.wait",
    operations.LastMessage: "read.last_message",
    operations.Status: "read.status",
    operations.List: "listing.list_sessions",
    operations.Kill: "kill.kill_session",
    operations.KillMany: "kill_many.kill_many",
    operations.Recover: "recover.recover",
    operations.Logs: "read.logs",
    operations.Inspect: "read.inspect",
    operations.Respond: "respond.respond",
    operations.Interrupt: "respond.interrupt",
    operations.GetGoal: "goals.get_goal",
    operations.SetGoal: "goals.set_goal",
    operations.ClearGoal: "goals.clear_goal",
}


class SessionManager:
    """Executes operations on the sessions of this machine."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation on this machine's sessions. Raises the errors of `dev_sessions.errors`."""
        module, _, name = FUNCTIONS[type(operation)].partition(".")
        function = getattr(importlib.import_module(f"dev_sessions.sessions.{module}"), name)
        result: R = function(self._context, operation)
        return result

    def claim_and_start(
        self,
        request: Create,
        start: Callable[[Session], Session],
        undo: Callable[[Session, BaseException], None],
    ) -> Session:
        """Claim an id here for a session that `start` starts elsewhere; see `create.claim_and_start`."""
        from dev_sessions.sessions import create

        return create.claim_and_start(self._context, request, request.path or "", start, undo)

    def terminal(self, session_id: str) -> Terminal:
        """Return the program that shows a session in a terminal. Raises SessionLost."""
        session = self._context.created_session(session_id)
        return self._context.backends(session.cli).terminal(session)
