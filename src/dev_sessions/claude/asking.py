"""What a session waits for, and answering it: its transcript tells, and its screen where Claude has not written yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dev_sessions.answers import chosen, require_fit
from dev_sessions.attempt import Attempt
from dev_sessions.claude import dialogs
from dev_sessions.claude.follow import unanswered_tools
from dev_sessions.claude.message import answer_text
from dev_sessions.claude.pane import LOOK, AgentPane
from dev_sessions.claude.presence import Presence
from dev_sessions.claude.transcript import ToolUse
from dev_sessions.deadline import Deadline, poll
from dev_sessions.errors import DeliveryFailed, InvalidRequest
from dev_sessions.models import ClaudeSession, Pending, Question

#: Seconds in which the transcript follows the session file (measured: 0.1, and above 1 on a busy machine).
_WRITTEN = 2.0
#: Seconds after which what is drawn counts without it.
_WRITTEN_SOON = 1.0
#: Seconds for a dialog to be drawn (measured: up to 0.6).
_DIALOG_DRAWN = 2.0
#: From this version on a text of one's own is taken where several options may be chosen (2.1.100 loses it).
_TAKES_TEXT_AMONG_MANY = (2, 1, 200)


class Asking:
    """A session that waits for an answer. `transcript` finds its conversation; `now` gives what its process does right
    now, and raises when there is none; `attempt` is told before the first key."""

    def __init__(
        self,
        session: ClaudeSession,
        transcript: Callable[[], Path | None],
        now: Callable[[], Presence],
        attempt: Attempt | None = None,
    ) -> None:
        self._session = session
        self._transcript = transcript
        self._now = now
        self._pane = AgentPane(session, attempt)

    def pending(self, found: Presence) -> Pending:
        """What it waits for, by what its process does: a question in full; of a permission the options that are drawn;
        of another dialog what Claude calls it."""
        told = found.waiting_for != "dialog open"
        # The session file says that Claude waits before the transcript says for what; and that may come too late.
        patience, soon = Deadline(_WRITTEN if told else 0), Deadline(_WRITTEN_SOON)
        while not (tools := self._unanswered()) and not patience.expired:
            if soon.expired and self._is_drawn(found):
                break
            patience.pause(0.02)
        question = _question_in(tools)
        if question is not None:
            return dialogs.asked(question)
        screen = self._pane.shown()
        seen = dialogs.asked_on_screen(screen) if not tools else None
        if seen is not None:
            return seen
        if found.waiting_for != "permission prompt":
            return Pending("dialog", found.waiting_for or "a dialog")
        # Claude says that it waits before it has drawn for what.
        patience = Deadline(_DIALOG_DRAWN)
        while not dialogs.options(screen) and not patience.expired:
            patience.pause(LOOK)
            screen = self._pane.shown()
        labels = tuple((label, "") for _, label in dialogs.options(screen))
        what = f"permission for {tools[0].name}" if tools else "a permission"
        return Pending("permission", what, (Question(f"Claude asks {what}:\n{dialogs.request(screen)}", labels),))

    def respond(self, pending: Pending, answers: Sequence[str], allow: bool | None, version: tuple[int, ...]) -> None:
        """Press what a person would press. InvalidRequest, before anything is pressed, when the answers do not fit;
        DeliveryFailed for what can't be answered from here, and without a proof."""
        if pending.kind == "dialog":
            raise DeliveryFailed(self._unanswerable(pending))
        question = _question_in(self._unanswered())
        # It may be written this very moment, when what is known of it came from the screen.
        written = question is not None and pending == dialogs.asked(question)
        if written or pending.kind == "permission" or not 0 < len(answers) < len(pending.questions):
            require_fit(self._session.id, pending, answers, allow)
        if pending.kind == "permission":
            self._decide(pending, answers, allow)
        elif written:
            pairs = zip(pending.questions, answers, strict=True)
            self.answer(pending, [_meant(question, text, version) for question, text in pairs])
        else:
            self._answer_as_drawn(answers, version)

    def require_text(self, pending: Pending, version: tuple[int, ...]) -> None:
        """DeliveryFailed unless a message can be the answer: to one single question, in words of one's own."""
        sid = self._session.id
        if pending.kind != "question":
            raise DeliveryFailed(self._unanswerable(pending))
        if len(pending.questions) != 1:
            raise DeliveryFailed(
                f"{sid} asks {len(pending.questions)} questions",
                f"answer each: dev-sessions respond {sid} ANSWER ANSWER …",
            )
        if pending.questions[0].multiple and version < _TAKES_TEXT_AMONG_MANY:
            raise DeliveryFailed(
                f"{sid} asks a question, and this version of Claude Code takes only its options",
                f"choose: dev-sessions respond {sid} ANSWER",
            )

    def answer(self, pending: Pending, answers: Sequence[list[int] | str]) -> None:
        """Give each question of one call its answer: numbers of options, or a text. DeliveryFailed without a proof."""
        question = _question_in(self._unanswered())

        def is_answered() -> bool:
            if question is None:
                return self._rests()
            return all(tool.id != question.id for tool in self._unanswered())

        dialogs.answer(self._pane, pending.questions, answers, is_answered)

    def _answer_as_drawn(self, answers: Sequence[str], version: tuple[int, ...]) -> None:
        """Answer questions that stand on the screen alone, one after the other as they are drawn."""
        before: Question | None = None

        def next_one() -> Question | None:
            found = dialogs.drawn(self._pane.shown())
            return found[0] if found is not None and found[0] != before else None

        for number, text in enumerate(answers):
            question = poll(next_one, Deadline(_DIALOG_DRAWN), LOOK)
            given = f"; {number} of {len(answers)} answers were given before"
            if question is None:
                raise DeliveryFailed(f"{self._session.id} shows no further question{given}; look: {self._pane.attach}")
            try:
                meant = _meant(question, text, version)
            except InvalidRequest as error:
                raise InvalidRequest(f"{error}{given if number else ''}") from error
            dialogs.answer_one(self._pane, question, meant, self._rests)
            before = question

    def _decide(self, pending: Pending, answers: Sequence[str], allow: bool | None) -> None:
        (question,) = pending.questions
        if answers:
            numbers = chosen(question, answers[0])
            if numbers is None:
                raise InvalidRequest(f"{answers[0]!r} is none of the options: {pending.text}")
            number: int | None = numbers[0]
        else:
            yes = (at for at, (label, _) in enumerate(question.options, 1) if label.startswith("Yes"))
            number = next(yes, 1) if allow else None
        dialogs.decide(self._pane, number, self._rests)

    def _is_drawn(self, found: Presence) -> bool:
        shown = self._pane.shown()
        asks = found.waiting_for == "permission prompt"
        return dialogs.drawn(shown) is not None or (asks and bool(dialogs.options(shown)))

    def _rests(self) -> bool:
        """Whether Claude waits for nothing any more."""
        return self._now().status != "waiting"

    def _unanswered(self) -> list[ToolUse]:
        transcript = self._transcript()
        return unanswered_tools(transcript) if transcript is not None else []

    def _unanswerable(self, pending: Pending) -> str:
        sid = self._session.id
        how = (
            f"dev-sessions respond {sid} --allow or --deny"
            if pending.kind == "permission"
            else f"look and answer it: {self._pane.attach}"
        )
        return f"{sid} waits for {pending.what}; {how}"


def _meant(question: Question, text: str, version: tuple[int, ...]) -> list[int] | str:
    """What an answer means for a question: numbers of options, or a text. InvalidRequest when it can't be given."""
    numbers = chosen(question, text)
    if numbers is None and question.multiple and version < _TAKES_TEXT_AMONG_MANY:
        raise InvalidRequest(f"This version of Claude Code takes only options here: {question.text}")
    return answer_text(text) if numbers is None else numbers


def _question_in(tools: Iterable[ToolUse]) -> ToolUse | None:
    return next((tool for tool in tools if tool.name == "AskUserQuestion"), None)
