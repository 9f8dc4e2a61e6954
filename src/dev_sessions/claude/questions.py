"""Read what a session waits for, and answer it: by its transcript, and by its screen before Claude has written it."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set

from dev_sessions.agent import PreparedMessage, Sent
from dev_sessions.answers import chosen, require_fit
from dev_sessions.attempt import Attempt
from dev_sessions.claude import dialog_keys, menu_keys
from dev_sessions.claude.dialogs import Dialog, Option
from dev_sessions.claude.message import answer_text
from dev_sessions.claude.message_text import visible
from dev_sessions.claude.pane import POLL_INTERVAL
from dev_sessions.claude.pending import (
    is_answer,
    parse_answer,
    pending_menu,
    pending_permission,
    pending_questions,
    typed_texts,
)
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.session_file import FILE_POLL_INTERVAL, SessionFile
from dev_sessions.claude.transcript import PLAN_TOOL, QUESTION_TOOL, Entry, ToolUse
from dev_sessions.claude.transcript_file import (
    answered_calls,
    entries_since,
    subagent_transcripts,
    tool_result_entry,
    unanswered_tools,
)
from dev_sessions.errors import AnsweredElsewhere, DeliveryFailed, InvalidRequest
from dev_sessions.models import ClaudeSession, Pending, Question, Receipt
from dev_sessions.system.deadline import Deadline, poll, wait_until

#: Seconds by which the transcript may lag behind the session file (measured: 0.1, and above 1 on a busy machine).
_WRITE_TIMEOUT = 2.0
#: Seconds after which a dialog on the screen counts without the transcript.
_SCREEN_DELAY = 1.0
#: Seconds for a denial to be written (measured: 0.13).
_DENIAL_TIMEOUT = 0.3
_DIGITS = frozenset(map(str, range(1, 10)))
#: Seconds for an answer to be written.
_PROOF_TIMEOUT = 5.0
#: Seconds for a dialog to be drawn (measured: up to 1.5).
_DRAW_TIMEOUT = 3.0
#: The option of a plan's approval that takes a text (2.1.250 to 2.1.332).
_FEEDBACK_LABEL = "Tell Claude what to change"
_HIDDEN_QUESTION = Question("(another question, which is shown when the one before it is answered)")


class PreparedAnswer(PreparedMessage[ClaudeSession]):
    """A message that answers the only open question. `found` is the state of the process."""

    def __init__(self, process: ClaudeProcess, found: SessionFile, text: str) -> None:
        """Require that a message can be the answer. Raises DeliveryFailed."""
        prompt = PendingPrompt(process)
        self._process = process
        self._pending = prompt.pending(found)
        prompt.require_text(self._pending)
        self._text = answer_text(text)
        self.changes = {"last_turn_status": None, "last_turn_error": None}

    def send(self, session: ClaudeSession, attempt: Attempt, deadline: Deadline) -> Sent:
        """Answer the question. The answer belongs to the turn that asks."""
        del deadline
        self._process.use_record(session)
        PendingPrompt(self._process, attempt).answer(self._pending, [self._text])
        return Sent(Receipt("answered", question=self._pending.text))


def pending(process: ClaudeProcess, found: SessionFile) -> Pending:
    """Return what a session waits for; `found` is the state of its process."""
    return PendingPrompt(process).pending(found)


def respond(process: ClaudeProcess, answers: Sequence[str], attempt: Attempt, *, allow: bool | None) -> None:
    """Answer what the session asks by pressing keys, and verify the answer in the transcript.

    Raises InvalidRequest when nothing is asked, and what `PendingPrompt.respond` raises.
    """
    found = _require_waiting(process)
    prompt = PendingPrompt(process, attempt)
    prompt.respond(prompt.pending(found), answers, allow)


def cancel(process: ClaudeProcess, attempt: Attempt) -> None:
    """Close what the session asks without an answer, by pressing Escape, and verify that it is closed.

    Raises InvalidRequest when nothing is asked, DeliveryFailed when it can't be read or is not closed.
    """
    PendingPrompt(process, attempt).cancel(_require_waiting(process))


def _require_waiting(process: ClaudeProcess) -> SessionFile:
    found = process.state()
    if found.status != "waiting":
        sid = process.session.id
        transcript = process.transcript()
        asked = answered_calls(transcript, QUESTION_TOOL) if transcript is not None else []
        if asked:
            raise InvalidRequest(
                f"{pending_questions(asked[-1]).what!r} is no longer asked by {sid}: it has been answered, or Claude"
                f" went on without an answer; see the result: dev-sessions last-message {sid}"
            )
        raise InvalidRequest(f"{sid} asks nothing; to say something: dev-sessions send {sid}")
    return found


class PendingPrompt:
    """A session that waits for an answer. `attempt` is marked as begun before the first key."""

    def __init__(self, process: ClaudeProcess, attempt: Attempt | None = None) -> None:
        self._process = process
        self._session = process.session
        self._pane = process.pane(attempt)
        self._answered_before: Set[str] = frozenset()

    def pending(self, found: SessionFile) -> Pending:
        """Return what the session waits for: questions, or a permission or another dialog with its options."""
        tools = self._await_open_calls(found)
        question = self._shown_question(tools)
        asks_permission = found.waiting_for == "permission prompt"
        dialog: Dialog | None = None
        if asks_permission or question is None:
            # Claude reports that it waits before it has drawn the dialog.
            dialog = self._dialog(_DRAW_TIMEOUT if asks_permission else 0)
        if asks_permission and not tools:
            menu = menu_keys.await_menu(self._pane, 0)
            if menu is not None and menu.is_held_message:
                return pending_menu(menu)
        if asks_permission and (dialog is None or not dialog.is_question):
            return pending_permission(tools, dialog)
        if question is not None:
            return pending_questions(question)
        visible_question = dialog.question if dialog is not None else None
        if visible_question is None:
            menu = menu_keys.await_menu(self._pane, _DRAW_TIMEOUT)
            return pending_menu(menu) if menu is not None else Pending("dialog", found.waiting_for or "a dialog")
        first, count = visible_question
        return Pending("question", first.text, (first, *[_HIDDEN_QUESTION] * (count - 1)))

    def respond(self, pending: Pending, answers: Sequence[str], allow: bool | None) -> None:
        """Answer what is pending by pressing keys.

        Raises InvalidRequest, before any key, when the answers do not fit, and DeliveryFailed when they can't be given
        from here or are not proved.
        """
        if pending.kind == "dialog":
            self._answer_menu(pending, answers, allow)
            return
        question = self._shown_question(self._open_calls())
        # A question that was known from the screen alone may be written in the meantime.
        written = question is not None and pending == pending_questions(question)
        if written or pending.kind == "permission" or not 0 < len(answers) < len(pending.questions):
            require_fit(self._session.id, pending, answers, allow)
        if pending.kind == "permission":
            self._decide(pending, answers, allow)
        elif written:
            pairs = zip(pending.questions, answers, strict=True)
            self.answer(pending, [parse_answer(question, text) for question, text in pairs])
        else:
            self._answer_on_screen(answers)

    def cancel(self, found: SessionFile) -> None:
        """Close what the session asks; `found` is its state. What it asks next is left alone."""
        kind = self.pending(found).kind
        asked_for = {tool.id for tool in self._open_calls()}

        def is_open() -> bool:
            now = self._process.state()
            if found.waiting_for == "dialog open":
                # A menu may lie above another one.
                return now.status == "waiting" and now.waiting_for == found.waiting_for
            is_same = now.status_since == found.status_since and asked_for <= {tool.id for tool in self._open_calls()}
            return now.status == "waiting" and is_same

        if kind == "dialog":
            menu_keys.close(self._pane, is_open)
        else:
            dialog_keys.decide(self._pane, lambda _: None, lambda: not is_open())

    def _answer_menu(self, pending: Pending, answers: Sequence[str], allow: bool | None) -> None:
        """Choose an option of a menu, or fill in its field or form."""
        sid = self._session.id
        menu = menu_keys.await_menu(self._pane, _DRAW_TIMEOUT)
        if menu is None:
            raise DeliveryFailed(self._unanswerable(pending))
        offered = "; ".join(f"{option.number}. {option.label}" for option in menu.options)
        advice = f"read it with: dev-sessions last-message {sid}, or close it with: dev-sessions respond {sid} --cancel"
        if allow is not None:
            raise InvalidRequest(f"{sid} asks for no permission, but shows {menu.title!r}; {advice}")
        expected = len(menu.fields) or 1
        is_button = len(answers) == 1 and answers[0].strip().casefold() in [
            option.label.casefold() for option in menu.options
        ]
        if menu.fields and not is_button:
            if len(answers) != expected:
                raise InvalidRequest(
                    f"{menu.title!r} has {expected} field(s); give one answer to each, or one of: {offered}; {advice}"
                )
            menu_keys.fill_form(self._pane, menu, answers)
            self._await_taken()
            return
        if len(answers) != 1:
            raise InvalidRequest(f"{menu.title!r} takes one answer: {offered}; {advice}")
        question = Question(menu.title, tuple((option.label, "") for option in menu.options))
        numbers = chosen(question, answers[0]) if menu.options else None
        if numbers is not None:
            if menu.is_cut and answers[0].strip().isdigit():
                raise InvalidRequest(
                    f"Some options of {menu.title!r} are hidden; give the label of one, not its number"
                )
            menu_keys.choose(self._pane, menu, numbers[0])
        elif menu.field_text is not None:
            menu_keys.fill_field(self._pane, menu, answers[0])
        else:
            what = f"none of the options, so nothing was pressed: {offered}" if offered else "not asked for"
            raise InvalidRequest(f"{answers[0]!r} is {what}; {advice}")
        self._await_taken()

    def _await_taken(self) -> None:
        """Wait until Claude reports what the screen shows: the answered menu is gone, or there is another one."""

        def is_reported() -> bool:
            return self._is_done_waiting() or menu_keys.current_menu(self._pane) is not None

        wait_until(is_reported, Deadline(_DRAW_TIMEOUT), POLL_INTERVAL)

    def require_text(self, pending: Pending) -> None:
        """Raise DeliveryFailed unless a message can be the answer: to a single question, as free text."""
        sid = self._session.id
        if pending.kind != "question":
            raise DeliveryFailed(self._unanswerable(pending))
        if len(pending.questions) != 1:
            raise DeliveryFailed(
                f"{sid} asks {len(pending.questions)} questions",
                f"answer each: dev-sessions respond {sid} ANSWER ANSWER …",
            )

    def answer(self, pending: Pending, answers: Sequence[list[int] | str]) -> None:
        """Answer each question of a call by numbers of options or by a text. Raises DeliveryFailed without a proof."""
        self._answered_before = {call.id for call in self._answered_calls()}
        question = self._shown_question(self._open_calls())

        def is_answered() -> bool:
            if question is None:
                return self._is_done_waiting()
            return self._result_entry(question) is not None or all(
                tool.id != question.id for tool in self._open_calls()
            )

        try:
            dialog_keys.answer(self._pane, pending.questions, answers, is_answered)
        except DeliveryFailed:
            if not self._has_result(question):
                raise
        self._verify_answers(question, list(zip(pending.questions, answers, strict=True)))

    def _has_result(self, call: ToolUse | None) -> bool:
        """Return whether a question's call (None for one that was not written) has a result.

        Then its dialog may be gone because somebody else has answered it.
        """
        return self._result_entry(call) is not None and (call is not None or self._is_done_waiting())

    def _result_entry(self, call: ToolUse | None) -> Entry | None:
        """Return the result of a question's call, or None while it has none.

        It is that of the first call that was answered since the first key: of those with the same input, which look
        alike, or of any if the call was not written.
        """
        transcript = self._process.transcript()
        if transcript is None:
            return None
        for answered in self._answered_calls():
            if answered.id not in self._answered_before and (call is None or answered.input == call.input):
                return tool_result_entry(transcript, answered.id)
        return None

    def _answered_calls(self) -> list[ToolUse]:
        transcript = self._process.transcript()
        return answered_calls(transcript, QUESTION_TOOL) if transcript is not None else []

    def _verify_answers(self, call: ToolUse | None, given: Sequence[tuple[Question, list[int] | str]]) -> None:
        """Verify that the result of the question's call (None if it was not written) has the given answers.

        Raises AnsweredElsewhere when it has others: a person may have answered at the same moment.
        """
        entry = poll(lambda: self._result_entry(call), Deadline(_PROOF_TIMEOUT), POLL_INTERVAL)
        if entry is None:
            raise self._pane.failure("The answer was typed, but nothing proves that it was taken")
        stray_texts = {text for question, meant in given for text in typed_texts(question, meant)}
        exact = dict(entry.answers)
        answers = {visible(question): answer for question, answer in entry.answers}
        if call is None and len(exact) == len(given):
            # The texts on the screen may differ from those in the transcript.
            answers = {visible(pair[0].text): answer for pair, answer in zip(given, exact.values(), strict=True)}
        for question, meant in given:
            # Two questions may differ only in what a terminal does not draw.
            answer = exact.get(question.text, answers.get(visible(question.text)))
            if answer is None or not is_answer(question, meant, answer):
                dialog_keys.clear_stray_input(self._pane, stray_texts)
                took = f"{answer!r} was taken" if answer is not None else "a question was left without an answer"
                raise AnsweredElsewhere(self._session.id, "the question was rejected" if not answers else took)
        dialog_keys.clear_stray_input(self._pane, stray_texts, 0)

    def _answer_on_screen(self, answers: Sequence[str]) -> None:
        """Answer questions that are only on the screen, one after the other as they appear."""
        self._answered_before = {call.id for call in self._answered_calls()}
        before: Question | None = None
        given: list[tuple[Question, list[int] | str]] = []

        def next_one() -> Question | None:
            dialog = self._dialog()
            found = dialog.question if dialog is not None else None
            return found[0] if found is not None and found[0] != before else None

        for number, text in enumerate(answers):
            question = poll(next_one, Deadline(_DRAW_TIMEOUT), POLL_INTERVAL)
            progress = f" ({number} of {len(answers)} answers were given before)" if number else ""
            if question is None:
                raise self._pane.failure(f"{self._session.id} shows no further question{progress}")
            try:
                meant = parse_answer(question, text)
            except InvalidRequest as error:
                what, _, advice = str(error).partition("; ")
                raise InvalidRequest(f"{what}{progress}; {advice}") from error
            given.append((question, meant))
            try:
                dialog_keys.answer_one(self._pane, question, meant, self._is_done_waiting)
            except DeliveryFailed:
                if not self._has_result(None):
                    raise
                self._verify_answers(None, given)
                if len(given) < len(answers):
                    raise
            before = question
        if self._is_done_waiting():
            self._verify_answers(None, given)

    def _decide(self, pending: Pending, answers: Sequence[str], allow: bool | None) -> None:
        """Choose one of the options that the dialog offers now."""
        since = self._process.state().status_since
        asked_for = {tool.id for tool in self._open_calls()}

        def is_decided() -> bool:
            now = self._process.state()
            # The next request may follow at once, and look the same.
            has_moved_on = now.status_since != since or not asked_for <= {tool.id for tool in self._open_calls()}
            return now.status != "waiting" or has_moved_on

        pressed_at = time.time()
        feedback = self._feedback(pending, answers)
        if feedback is not None:
            dialog_keys.give_feedback(self._pane, _FEEDBACK_LABEL, feedback, is_decided)
            denies = True
        else:
            denies = dialog_keys.decide(self._pane, lambda dialog: self._choose(dialog, answers, allow), is_decided)
        self._verify_decision(pressed_at, asked_for, denies=denies)

    def _feedback(self, pending: Pending, answers: Sequence[str]) -> str | None:
        """Return the answer if it is a text for the field in the approval of a plan, and none of its options."""
        if not answers or pending.what != f"permission for {PLAN_TOOL}":
            return None

        def whole() -> Dialog | None:
            # While a long plan is drawn in the enlarged window, options may be missing.
            dialog = dialog_keys.stable_dialog(self._pane)
            return dialog if any(option.label.startswith(_FEEDBACK_LABEL) for option in dialog.options) else None

        dialog = poll(whole, Deadline(_DRAW_TIMEOUT), POLL_INTERVAL)
        if dialog is None:
            return None
        question = Question("the plan", tuple((option.label, "") for option in dialog.options))
        return answers[0] if chosen(question, answers[0]) is None else None

    def _verify_decision(self, since: float, tools: Set[str], *, denies: bool) -> None:
        """Verify that a request was denied or allowed as intended, by the results written since a time.

        A denial is written at once, a subagent's, too; a call that was allowed may run for long. Raises
        AnsweredElsewhere when the result is the other one, DeliveryFailed when no result proves a denial.
        """

        def results() -> list[Entry]:
            transcript = self._process.transcript()
            files = (transcript, *subagent_transcripts(transcript)) if transcript is not None else ()
            entries = (entry for file in files for entry in entries_since(file, since, sidechain=True))
            return [entry for entry in entries if entry.rejected or (len(tools) == 1 and tools & {*entry.tool_results})]

        timeout = Deadline(_PROOF_TIMEOUT if denies else _DENIAL_TIMEOUT)
        while not (found := results()) and not timeout.expired:
            timeout.pause(POLL_INTERVAL)
        was_denied = any(entry.rejected for entry in found)
        dialog_keys.clear_stray_input(self._pane, _DIGITS, 0 if was_denied == denies else _SCREEN_DELAY)
        if denies and not found:
            raise self._pane.failure("nothing proves that it was denied")
        if was_denied != denies:
            raise AnsweredElsewhere(self._session.id, "it was denied" if was_denied else "it was allowed")

    def _choose(self, dialog: Dialog, answers: Sequence[str], allow: bool | None) -> Option | None:
        """Return the chosen option, or None to deny by leaving the dialog. Raises InvalidRequest if there is none."""
        sid = self._session.id
        offered = "; ".join(f"{option.number}. {option.label}" for option in dialog.options)
        if dialog.is_question or self._process.state().waiting_for != "permission prompt":
            raise InvalidRequest(
                f"{sid} now asks something else, so nothing was pressed; read it with: dev-sessions last-message {sid}"
            )
        if answers:
            question = Question(offered, tuple((option.label, "") for option in dialog.options))
            numbers = chosen(question, answers[0]) if dialog.options[0].number == 1 else None
            if numbers is None:
                raise InvalidRequest(f"{answers[0]!r} is none of the options, so nothing was pressed: {offered}")
            return dialog.options[numbers[0] - 1]
        if not allow:
            return dialog.deny_once_option
        if dialog.allow_once_option is None:
            raise InvalidRequest(
                f"{sid} offers no option that is known to allow this once, so nothing was pressed: {offered}; "
                f"choose one with: dev-sessions respond {sid} NUMBER"
            )
        return dialog.allow_once_option

    def _await_open_calls(self, found: SessionFile) -> list[ToolUse]:
        """Return the calls without a result, newest first, waiting for Claude to write what it waits for.

        Claude may write it too late; then a dialog on the screen ends the wait.
        """
        timeout = Deadline(_WRITE_TIMEOUT if found.waiting_for != "dialog open" else 0)
        soon = Deadline(_SCREEN_DELAY)
        while not (tools := self._open_calls()) and not timeout.expired:
            if soon.expired and self._dialog() is not None:
                break
            timeout.pause(FILE_POLL_INTERVAL)
        return tools

    def _shown_question(self, tools: Sequence[ToolUse]) -> ToolUse | None:
        """Return the call of these, the newest of which is first, whose question is on the screen.

        Claude shows the questions of one message one by one: from the first (2.1.332), or from the last (2.1.250).
        """
        calls = [tool for tool in reversed(tools) if tool.name == QUESTION_TOOL]
        if any(call.input != calls[0].input for call in calls) and (dialog := self._dialog(_DRAW_TIMEOUT)) is not None:
            shown = [call for call in calls if any(map(dialog.shows, pending_questions(call).questions))]
            calls = shown or calls
        return calls[0] if calls else None

    def _dialog(self, seconds: float = 0.0) -> Dialog | None:
        return dialog_keys.await_dialog(self._pane, seconds)

    def _is_done_waiting(self) -> bool:
        """Return whether Claude no longer waits for anything."""
        return self._process.state().status != "waiting"

    def _open_calls(self) -> list[ToolUse]:
        transcript = self._process.transcript()
        return unanswered_tools(transcript) if transcript is not None else []

    def _unanswerable(self, pending: Pending) -> str:
        sid = self._session.id
        how = (
            f"dev-sessions respond {sid} --allow or --deny"
            if pending.kind == "permission"
            else f"dev-sessions last-message {sid} shows it; answer it with: dev-sessions respond {sid} ANSWER,"
            f" or close it with: dev-sessions respond {sid} --cancel"
        )
        return f"{sid} waits for {pending.what}; {how}"
