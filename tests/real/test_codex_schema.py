"""What is sent to Codex's app-server, and read of it, is in the schema that Codex itself generates.

Codex ignores unknown fields, so a field that a new version has renamed would have no effect, without an error.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from dev_sessions.codex import elicitation, failure, goal_protocol, protocol, question_protocol
from dev_sessions.codex.jsonrpc import ServerRequest
from dev_sessions.system.version import parse_version
from tests.support.agents import AgentMissing, agent_bin
from tests.support.elicitation import FORMS
from tests.support.home import Home
from tests.support.json_schema import Schemas
from tests.support.versions import VERSIONS

THREAD = {"threadId": "t"}
#: The parameters of every method that is called, in all variants.
SENT: list[tuple[str, dict[str, Any]]] = [
    ("initialize", protocol.initialize("1")),
    ("thread/start", protocol.thread_start("/work", "gpt", {"A": "1"})),
    ("thread/resume", protocol.thread_resume("t", "/work", {"A": "1"})),
    ("thread/read", THREAD),
    ("thread/read", {**THREAD, "includeTurns": True}),
    ("thread/turns/list", protocol.turns_list("t", 5, "full", "c")),
    ("thread/turns/list", protocol.turns_list("t", 5, "notLoaded", None)),
    ("thread/loaded/list", {}),
    ("thread/archive", THREAD),
    ("thread/delete", THREAD),
    ("thread/backgroundTerminals/clean", THREAD),
    (
        "thread/fork",
        protocol.thread_fork("t", "u", "fizz-top", "/work", "gpt", {"shell_environment_policy.set": {"A": "1"}}),
    ),
    ("thread/list", protocol.newest_thread_list()),
    ("thread/name/set", {**THREAD, "name": "fizz-top"}),
    ("config/read", {"cwd": "/work"}),
    ("turn/start", protocol.turn_start("t", "hi", "id")),
    ("turn/steer", protocol.steer_probe("t")),
    ("turn/interrupt", protocol.turn_interrupt("t", "u")),
    ("thread/goal/get", THREAD),
    ("thread/goal/clear", THREAD),
    *(("thread/goal/set", goal_protocol.goal_set("t", "work", status, 5)) for status in ("active", "paused")),
]
#: The same of methods that are called only from a version on.
SENT_SINCE = [(protocol.FIRST_LISTING_BY_ID, "thread/list", protocol.thread_list(["t"]))]
#: The fields that are read of each result and notification.
READ = {
    "InitializeResponse": ("userAgent", "codexHome"),
    "v2/ThreadStartResponse": ("thread.id",),
    "v2/ThreadReadResponse": (
        *("thread.status.type", "thread.status.activeFlags", "thread.updatedAt", "thread.path"),
        *("thread.preview", "thread.threadSource"),
    ),
    "v2/ThreadListResponse": (
        "data.id",
        "data.status.type",
        "data.preview",
        "data.updatedAt",
        "data.path",
        "data.createdAt",
    ),
    "v2/ThreadForkResponse": ("thread.id",),
    "v2/ConfigReadResponse": ("config",),
    "v2/ThreadLoadedListResponse": ("data",),
    "v2/TurnStartResponse": ("turn.id",),
    "v2/ThreadTurnsListResponse": (
        *("nextCursor", "data.id", "data.status", "data.completedAt", "data.error.message"),
        *("data.error.codexErrorInfo", "data.items.type", "data.items.text", "data.items.phase"),
        *("data.items.clientId", "data.items.content.text"),
    ),
    "v2/ThreadGoalGetResponse": (
        *("goal.objective", "goal.status", "goal.tokenBudget", "goal.tokensUsed", "goal.timeUsedSeconds"),
    ),
    "v2/ThreadGoalClearResponse": ("cleared",),
    "v2/ThreadStatusChangedNotification": ("threadId", "status.type"),
    "v2/TurnStartedNotification": ("turn.id",),
    "v2/TurnCompletedNotification": ("turn.id",),
    "v2/ServerRequestResolvedNotification": ("requestId",),
    "CommandExecutionRequestApprovalParams": ("command", "reason", "availableDecisions"),
    "FileChangeRequestApprovalParams": ("reason",),
    "PermissionsRequestApprovalParams": ("reason", "permissions"),
    "ToolRequestUserInputParams": (
        *("questions.id", "questions.question", "questions.isOther"),
        *("questions.options.label", "questions.options.description"),
    ),
    "McpServerElicitationRequestParams": ("serverName", "mode", "message", "requestedSchema", "url"),
}
QUESTION = {"id": "q", "question": "Which?", "isOther": True, "options": [{"label": "Yes", "description": ""}]}
#: A request of each kind with its answers, and the type of the response.
ANSWERED: list[tuple[str, dict[str, Any], tuple[list[str], bool | None], str]] = [
    ("item/tool/requestUserInput", {"questions": [QUESTION]}, (["1"], None), "ToolRequestUserInputResponse"),
    *(
        (method, {"permissions": {"network": {"enabled": True}}}, ([], allow), f"{kind}RequestApprovalResponse")
        for method, kind in (
            ("item/commandExecution/requestApproval", "CommandExecution"),
            ("item/fileChange/requestApproval", "FileChange"),
            ("item/permissions/requestApproval", "Permissions"),
        )
        for allow in (True, False)
    ),
    *(
        (elicitation.METHOD, {"mode": "form", **FORMS[form]}, answers, "McpServerElicitationRequestResponse")
        for form, answers in (
            ("confirm", ([], True)),
            ("confirm", (["2"], None)),
            ("form", (["Kim", "red", "yes", "4", "x"], None)),
        )
    ),
]


@cache
def schemas(version: str) -> Schemas:
    """Return the schema that a version of Codex generates."""
    with Home(0, versions={"codex": version}) as home:
        out = home.path / "schema"
        program = agent_bin("codex", version) / "codex"
        done = home.run(program, "app-server", "generate-json-schema", "--experimental", "--out", out)
        assert done.returncode == 0, done.stderr
        return Schemas(json.loads((out / "codex_app_server_protocol.schemas.json").read_text()))


@pytest.fixture(params=VERSIONS["codex"])
def version(request: pytest.FixtureRequest) -> str:
    """Provide each version."""
    return str(request.param)


@pytest.fixture
def schema(version: str) -> Schemas:
    """Provide the schema of a version, if it is installed."""
    try:
        return schemas(version)
    except AgentMissing:
        pytest.skip(f"Codex {version} is not installed; tests/run --versions does that")


def test_what_is_sent_is_known(schema: Schemas, version: str) -> None:
    """Every call is one that Codex has, with fields that it reads and values that it takes."""
    calls = schema.methods("ClientRequest")
    newer = [(method, params) for since, method, params in SENT_SINCE if parse_version(version) >= since]
    for method, params in (*SENT, *newer):
        assert method in calls
        assert schema.problems(calls[method], params) == [], method
    for method, params, (answers, allow), response in ANSWERED:
        assert method in schema.methods("ServerRequest")
        result = question_protocol.result(ServerRequest(1, method, params), "fizz-top", answers, allow)
        assert schema.problems(schema.definition(response), result) == [], method


def test_what_is_read_is_there(schema: Schemas) -> None:
    """Every field that is read is one that Codex sends, and every word that is told apart one that it says."""
    for name, paths in READ.items():
        assert [path for path in paths if not schema.has(schema.definition(name), path)] == [], name
    notified = schema.methods("ServerNotification")
    assert notified.keys() >= {"thread/status/changed", "turn/started", "turn/completed", "serverRequest/resolved"}
    thread = schema.definition("v2/ThreadReadResponse")
    assert schema.words(thread, "thread.status.type") == {"idle", "active", "systemError", "notLoaded"}
    assert schema.words(thread, "thread.status.activeFlags") == {"waitingOnUserInput", "waitingOnApproval"}
    turns = schema.definition("v2/ThreadTurnsListResponse")
    assert schema.words(turns, "data.status") == {"inProgress", "completed", "failed", "interrupted"}
    assert schema.words(turns, "data.items.type") >= {"agentMessage", "userMessage", "contextCompaction"}
    assert schema.words(turns, "data.error.codexErrorInfo") - {"other"} <= failure.BY_WORD.keys()
    assert schema.words(schema.definition("v2/ThreadGoalGetResponse"), "goal.status") == {
        *("active", "paused", "blocked", "usageLimited", "budgetLimited", "complete")
    }


def test_a_change_of_the_protocol_is_noticed(schema: Schemas) -> None:
    """A field that Codex does not have, one that it needs, and another value are told."""
    calls = schema.methods("ClientRequest")
    assert schema.problems(calls["turn/start"], {"threadId": "t"}) == [".input is missing"]
    assert schema.problems(calls["thread/read"], {"threadId": "t", "turns": 1}) == [".turns is unknown"]
    assert "is none of" in str(schema.problems(calls["thread/start"], {"sandbox": "none"}))
    assert "is no string" in str(schema.problems(calls["thread/read"], {"threadId": 1}))
    assert not schema.has(schema.definition("v2/ThreadReadResponse"), "thread.state")
