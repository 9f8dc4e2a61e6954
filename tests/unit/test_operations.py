"""Operations and their command lines."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev_sessions import operations
from dev_sessions.cli import run
from dev_sessions.cli.app import Application
from dev_sessions.operations import (
    Ask,
    Create,
    Fork,
    Operation,
    Send,
    SetGoal,
    needs_full_version,
)
from dev_sessions.remote import command_line
from dev_sessions.sessions.manager import FUNCTIONS
from tests.support.operations import OPERATIONS, RESULTS, Recorder


def every_operation() -> set[type]:
    """Return the operations that the module defines."""
    return {kind for kind in vars(operations).values() if isinstance(kind, type) and Operation in kind.__mro__[1:]}


def test_every_operation_is_covered_here() -> None:
    """A new operation cannot be forgotten in these tests."""
    assert every_operation() == set(OPERATIONS) == set(RESULTS)


def test_every_operation_is_executed_on_this_machine() -> None:
    """The table of the manager has a function for each operation, which takes the context and that operation."""
    assert every_operation() == set(FUNCTIONS)
    for kind, name in FUNCTIONS.items():
        module, _, function = name.partition(".")
        found = getattr(importlib.import_module(f"dev_sessions.sessions.{module}"), function)
        assert list(found.__annotations__.values())[:2] == ["Context", kind.__name__], name


@pytest.mark.parametrize("kind", list(OPERATIONS), ids=lambda kind: kind.__name__)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_operation_survives_its_own_command_line(
    kind: type[Operation[Any]], data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine executes exactly the operation that was requested, whatever its texts."""
    operation = data.draw(OPERATIONS[kind])
    line = command_line.encode(operation)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((line.stdin or "").encode())))
    recorder = Recorder()
    assert run(line.arguments, Application(recorder)) == 0
    assert recorder.seen == [operation]


def test_an_objective_is_begun_whatever_status_is_given_with_it() -> None:
    """A new objective is worked on whatever status is given with it."""
    asked = SetGoal(session_id="fizz-top", objective="- work\n- rest", status="paused", token_budget=5)
    line = command_line.encode(asked)
    assert line.arguments == ["goal", "fizz-top", "--json", "--budget", "5", "--file", "-"]
    assert line.stdin == "- work\n- rest"


def test_a_message_never_stands_in_the_arguments() -> None:
    """Messages and objectives cannot be read in the process list."""
    asked = (
        Send(session_id="a", message="secret"),
        Ask(session_id="a", message="secret"),
        SetGoal(session_id="a", objective="secret"),
    )
    for operation in asked:
        assert not any("secret" in word for word in command_line.encode(operation).arguments)


def test_version_0_4_is_not_asked_to_fork_or_to_pass_options() -> None:
    """What version 0.4 would ignore or lacks is an error that names the version needed, before anything is started."""
    assert needs_full_version(Create(args=("--effort", "low")))
    assert needs_full_version(Fork(session_id="fizz-top"))
    assert not needs_full_version(Create())
