"""Codex's questions and approvals, from recorded and written requests, and the results that answer them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dev_sessions.codex import jsonrpc, question_protocol
from dev_sessions.codex.jsonrpc import Notification, ServerRequest
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Pending, Question

DATA = Path(__file__).parents[1] / "data" / "codex"
COMMAND = "item/commandExecution/requestApproval"


def recorded(version: str) -> list[jsonrpc.Frame]:
    """Return the frames that were received in a turn with a question."""
    lines = map(json.loads, (DATA / version / "request-user-input.jsonl").read_text().splitlines())
    return [jsonrpc.parse(json.dumps(line["frame"])) for line in lines if line.get("dir") == "recv"]


def question(*raw: dict[str, Any]) -> ServerRequest:
    """Return a request with questions."""
    return ServerRequest(7, "item/tool/requestUserInput", {"threadId": "t1", "questions": list(raw)})


def approval(**params: Any) -> ServerRequest:
    """Return a request for the permission to run a command."""
    return ServerRequest(7, COMMAND, {"threadId": "t1", "command": "/bin/sh -c 'touch a'", **params})


COLOUR = {"id": "q1", "question": "Which?", "options": [{"label": "red", "description": "warm"}, {"label": "blue"}]}


@pytest.mark.parametrize("version", ["0.150.0", "0.169.0"])
def test_a_recorded_question_is_read_and_its_end_is_seen(version: str) -> None:
    """The request is the same when it is repeated after a resume, and its end is recognized."""
    frames = recorded(version)
    asked = [frame for frame in frames if isinstance(frame, ServerRequest)]
    assert len(asked) > 1
    assert asked[0] == asked[1]
    assert question_protocol.pending(asked[0]) == Pending(
        "question", "Proceed?", (Question("Proceed?", (("Yes", "y"), ("No", "n"))),)
    )
    events = [frame for frame in frames if not isinstance(frame, jsonrpc.Response)]
    assert [event.method for event in events if question_protocol.is_resolved(event, asked[0])] == [
        "serverRequest/resolved"
    ]


def test_an_end_of_another_request_is_no_proof() -> None:
    """Only the end of the very request confirms an answer."""
    asked = question(COLOUR)
    assert question_protocol.is_resolved(Notification("serverRequest/resolved", {"requestId": 7}), asked)
    assert not question_protocol.is_resolved(Notification("serverRequest/resolved", {"requestId": 8}), asked)
    assert not question_protocol.is_resolved(asked, asked)


@pytest.mark.parametrize(
    ("answer", "given"), [("1", "red"), (" RED ", "red"), ("2", "blue"), ("as you like", "as you like")]
)
def test_an_answer_goes_back_by_the_questions_own_name(answer: str, given: str) -> None:
    """The result has the question's id, and the label of the chosen option or the text."""
    result = question_protocol.result(question({**COLOUR, "isOther": True}), "fizz-top", [answer], None)
    assert result == {"answers": {"q1": {"answers": [given]}}}


def test_words_of_ones_own_are_taken_where_codex_takes_them() -> None:
    """Free text is accepted if there are no options, or if Codex allows other answers."""
    free = {"id": "q2", "question": "Why?", "options": None}
    assert question_protocol.result(question(free), "fizz-top", ["3"], None) == {"answers": {"q2": {"answers": ["3"]}}}
    assert question_protocol.text_result(question(free), "because") == {"answers": {"q2": {"answers": ["because"]}}}
    with pytest.raises(InvalidRequest, match=r"'green' is none of the options, .* is accepted: red, blue"):
        question_protocol.result(question(COLOUR), "fizz-top", ["green"], None)
    assert question_protocol.text_result(question(COLOUR), "green") is None
    assert question_protocol.text_result(question(COLOUR), "blue") == {"answers": {"q1": {"answers": ["blue"]}}}


def test_a_message_answers_one_question_and_nothing_else() -> None:
    """A message answers a single question, but not one of several, nor a permission."""
    assert question_protocol.text_result(question(COLOUR, {**COLOUR, "id": "q2"}), "red") is None
    assert question_protocol.text_result(approval(), "yes") is None


@pytest.mark.parametrize(
    ("answers", "allow", "words"),
    [
        ([], None, r"asks 1 question\(s\)"),
        (["1", "2"], None, r"asks 1 question\(s\)"),
        (["9"], None, "There is no option 9"),
        ([], True, "asks a question, not for a permission"),
    ],
)
def test_what_does_not_answer_a_question_is_refused(answers: list[str], allow: bool | None, words: str) -> None:
    """An invalid answer is refused with an error that quotes the question."""
    with pytest.raises(InvalidRequest, match=words):
        question_protocol.result(question(COLOUR), "fizz-top", answers, allow)


def test_a_permission_shows_what_it_is_for_and_its_options() -> None:
    """A permission shows the command, the reason if there is one, and each offered decision."""
    amendment = {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["touch", "a"]}}
    asked = approval(reason="need it", availableDecisions=["accept", amendment, {"newKind": {}}, "cancel"])
    assert question_protocol.pending(asked).text == (
        "Codex asks permission to run /bin/sh -c 'touch a' (need it)\n"
        "1. accept - yes\n"
        "2. acceptWithExecpolicyAmendment - yes, and from now on for every command that begins with: touch a\n"
        "3. newKind\n"
        "4. cancel - no, and the turn ends"
    )
    assert question_protocol.result(asked, "fizz-top", ["2"], None) == {"decision": amendment}
    assert question_protocol.result(asked, "fizz-top", ["CANCEL"], None) == {"decision": "cancel"}
    assert question_protocol.result(asked, "fizz-top", [], True) == {"decision": "accept"}
    assert question_protocol.result(asked, "fizz-top", [], False) == {"decision": "decline"}


def test_a_permission_without_offered_decisions_has_two() -> None:
    """A change of files can be allowed or denied."""
    asked = ServerRequest(7, "item/fileChange/requestApproval", {"threadId": "t1", "reason": None})
    assert question_protocol.pending(asked).text == (
        "Codex asks permission to change files\n1. accept - yes\n2. decline - no, and the turn continues"
    )
    assert question_protocol.result(asked, "fizz-top", ["2"], None) == {"decision": "decline"}


@pytest.mark.parametrize(("answers", "allow"), [([], None), (["1"], True), (["1", "2"], None), (["perhaps"], None)])
def test_what_is_no_decision_is_refused(answers: list[str], allow: bool | None) -> None:
    """No decision, two decisions and one that is not offered are refused."""
    with pytest.raises(InvalidRequest):
        question_protocol.result(approval(), "fizz-top", answers, allow)


def test_a_request_that_is_not_known_has_no_answer() -> None:
    """A request of an unknown method is shown by its name, and nothing is sent for it."""
    asked = ServerRequest(7, "mcpServer/elicitation/request", {"threadId": "t1"})
    assert question_protocol.pending(asked) == Pending("dialog", "an answer to mcpServer/elicitation/request")
    assert question_protocol.text_result(asked, "yes") is None


@pytest.mark.parametrize("raw", [None, "x", [], ["x"], [{}]])
def test_questions_of_another_form_are_no_crash(raw: object) -> None:
    """Questions of an unexpected form are shown as far as they can be read."""
    asked = ServerRequest(7, "item/tool/requestUserInput", {"questions": raw})
    assert question_protocol.pending(asked).kind == "question"
    assert isinstance(question_protocol.pending(asked).text, str)
