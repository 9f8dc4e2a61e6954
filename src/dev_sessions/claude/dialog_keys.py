"""Press keys in Claude's dialogs.

A key is pressed only on a dialog that is drawn, has been unchanged for as long as Claude may still ignore keys, and is
the same at the moment of the key. The effect is then read from the screen; the proof is up to the caller.

Measured on 2.1.250 and 2.1.332: a dialog is drawn up to 1.5 s after the session file says `waiting` (later while
somebody types), and keys pressed before, or in the 0.2 s after, are lost without a trace. A digit chooses its option
at once, except that it ticks a checkbox, and moves to an option that is a text field.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial

from dev_sessions.claude.dialogs import Dialog, Option, read
from dev_sessions.claude.message import holds_text
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.screen import box_text
from dev_sessions.claude.window_size import LONG_DIALOG_ROWS
from dev_sessions.models import Question
from dev_sessions.system.deadline import Deadline, poll, wait_until

#: Seconds for something to be drawn, and for a key to have an effect; after that it counts as lost.
_DRAW_TIMEOUT = 5.0
_KEY_TIMEOUT = 1.0
_MAX_PRESSES = 4
#: Seconds for which a dialog must be unchanged before the first key. A lost key costs ten times as much.
_SETTLE_TIME = 0.3
#: Seconds for which a text field may ignore input after it was opened or filled; nothing shows when that ends.
_FIELD_SETTLE_TIME = 0.3
_LAST_DIGIT = 9
_ARROWS = ("Down", "Up")


def current_dialog(pane: AgentPane) -> Dialog | None:
    """Return the dialog on the screen, or None if there is none or it can't be read.

    The window is enlarged for one that is longer: what is hidden may tell it from the next one.
    """
    snapshot = pane.snapshot()
    dialog = read(snapshot.screen, snapshot.width, snapshot.cursor)
    if dialog.is_complete if dialog is not None else box_text(snapshot.screen) is not None:
        return dialog
    snapshot = pane.snapshot(LONG_DIALOG_ROWS)
    return read(snapshot.screen, snapshot.width, snapshot.cursor)


def await_dialog(pane: AgentPane, seconds: float) -> Dialog | None:
    """Return the dialog on the screen, waiting up to `seconds` for one, or None.

    It is the same in two polls: a screen that is being drawn may show anything.
    """
    deadline = Deadline(seconds)
    while True:
        expired = deadline.expired
        dialog = current_dialog(pane)
        if dialog is not None:
            time.sleep(POLL_INTERVAL)
            if current_dialog(pane) == dialog:
                return dialog
        if expired:
            return None
        deadline.pause(POLL_INTERVAL)


def stable_dialog(pane: AgentPane) -> Dialog:
    """Return the dialog on the screen once it has been unchanged for long enough. Raises DeliveryFailed without one."""
    return _await_stable(pane, lambda _: True, "The dialog")


def decide(pane: AgentPane, choose: Callable[[Dialog], Option | None], is_decided: Callable[[], bool]) -> bool:
    """Answer a request with the option that `choose` returns, or by leaving the dialog for None.

    Returns whether that denies the request. `choose` may raise before any key is pressed. `is_decided` returns whether
    the answer has been taken, which the next of several requests in its place proves, too: it has another text, or
    another number in its title. Raises DeliveryFailed when there is no dialog, another one replaces it before the key,
    or the answer is not taken.
    """
    first = stable_dialog(pane)
    option = choose(first)

    def same_dialog() -> Dialog:
        dialog = stable_dialog(pane)
        if dialog.identity != first.identity:
            raise pane.failure("Another dialog has replaced the one that was to be answered")
        return dialog

    for dialog, key, presses in _presses(pane, first, option.number if option is not None else None, same_dialog):
        if _await(partial(_is_over, pane, dialog, is_decided), 2 * _KEY_TIMEOUT):
            _clear_repeated_key(pane, key, presses)
            return option in (None, dialog.deny_once_option)
        # Pressed again only if the key was certainly lost: nothing at all has changed, and what would tell another
        # request from this one is not hidden.
        if current_dialog(pane) != dialog or not dialog.is_complete:
            raise pane.failure(f"{key} was pressed, but the dialog did not take it as an answer")
    raise pane.failure("The dialog did not take the answer")


def give_feedback(pane: AgentPane, label: str, text: str, is_decided: Callable[[], bool]) -> None:
    """Answer a request by a text in the field of the option with this label. Raises DeliveryFailed as `decide` does."""

    def has_field(dialog: Dialog) -> bool:
        return any(option.label.startswith(label) for option in dialog.options)

    line = " ".join(text.split())
    for _ in range(3 * _MAX_PRESSES):
        dialog = _await_stable(pane, has_field, "The dialog")
        number = next(option.number for option in dialog.options if option.label.startswith(label))
        if dialog.selected != number:
            if _press(pane, dialog, "Down" if dialog.selected < number else "Up"):
                _await(partial(_has_changed, pane, dialog))
            continue
        time.sleep(_FIELD_SETTLE_TIME)
        if pane.paste_if(dialog.rows, dialog.cursor, line) and _await(partial(_has_changed, pane, dialog)):
            break
    else:
        raise pane.failure("The field for the answer did not take the text")
    time.sleep(_FIELD_SETTLE_TIME)
    pressed = pane.press_if(*_shown(pane), "Enter")
    if not pressed or not _await(is_decided, _DRAW_TIMEOUT):
        raise pane.failure("The text was typed, but the dialog did not take it as an answer")


def _shown(pane: AgentPane) -> tuple[Sequence[str], tuple[int, int]]:
    """Return the rows and the cursor of the dialog on the screen."""
    dialog = _await_matching(pane, lambda _: True, "The dialog")
    return dialog.rows, dialog.cursor


def answer(
    pane: AgentPane, questions: Sequence[Question], answers: Sequence[list[int] | str], is_answered: Callable[[], bool]
) -> None:
    """Answer each question of a call by numbers of options or by a text.

    `is_answered` returns whether the transcript has the answers; else DeliveryFailed is raised.
    """
    _go_to_first(pane, questions)
    for question, given in zip(questions, answers, strict=True):
        _answer_question(pane, question, given, is_answered)
    if len(questions) > 1 or questions[0].multiple:
        _submit(pane, is_answered)
    if not _await(is_answered, _DRAW_TIMEOUT):
        raise pane.failure("The answer was typed, but nothing proves that it was taken")


def answer_one(pane: AgentPane, question: Question, given: list[int] | str, is_answered: Callable[[], bool]) -> None:
    """Answer the question on the screen. Then `is_answered` must return True, or another question appear."""
    _answer_question(pane, question, given, is_answered)

    def has_moved_on() -> bool:
        dialog = current_dialog(pane)
        asks_another = dialog is not None and dialog.question is not None and not dialog.shows(question)
        return is_answered() or asks_another or (dialog is not None and dialog.is_review)

    if not _await(has_moved_on, _DRAW_TIMEOUT):
        raise pane.failure("The answer was typed, but nothing proves that it was taken")
    dialog = current_dialog(pane)
    if dialog is not None and dialog.is_review:
        _submit(pane, is_answered)
        if not _await(is_answered, _DRAW_TIMEOUT):
            raise pane.failure("The answers were typed, but nothing proves that they were taken")


def _go_to_first(pane: AgentPane, questions: Sequence[Question]) -> None:
    """Go back to the first question of a call, in case a person has moved on to another one or to the review."""
    first = questions[0]
    for _ in range(len(questions) + _MAX_PRESSES):
        dialog = _await_stable(
            pane, lambda dialog: dialog.is_review or any(map(dialog.shows, questions)), repr(first.text)
        )
        if dialog.shows(first):
            return
        if _press(pane, dialog, "Left"):
            _await(partial(_has_changed, pane, dialog))


def _answer_question(
    pane: AgentPane, question: Question, given: list[int] | str, is_answered: Callable[[], bool]
) -> None:
    """Answer a question and leave it."""
    _await_stable(pane, lambda dialog: dialog.shows(question), repr(question.text))
    if question.multiple:
        for number in range(1, len(question.options) + 1):
            _set_checkbox(pane, question, number, wanted=not isinstance(given, str) and number in given)
    if isinstance(given, str):
        _fill_field(pane, question, given)
    if not question.multiple:
        number = len(question.options) + 1 if isinstance(given, str) else given[0]
        _press_until_gone(pane, question, number, is_answered)
        return
    for key in ("Tab", "Enter"):
        dialog = _await_question(pane, question)
        if _press(pane, dialog, key) and _await(partial(_is_gone, pane, dialog)):
            return
    raise pane.failure(f"{question.text!r} is still open after its answer was typed")


def _submit(pane: AgentPane, is_answered: Callable[[], bool]) -> None:
    """Submit the answers to several questions from their review."""
    for _ in range(_MAX_PRESSES):
        dialog = _await_stable(pane, lambda dialog: dialog.is_review, "The review of the answers")
        if _press(pane, dialog, "Enter") and _await(partial(_is_over, pane, dialog, is_answered)):
            return
    raise pane.failure("The answers were typed, but Claude did not take them")


def _next_key(dialog: Dialog, number: int) -> str:
    """Return the next key for choosing an option. Digits work only while one of the dialog's options is selected."""
    if all(option.number != dialog.selected for option in dialog.options):
        return "Up"
    if dialog.numbered and number <= _LAST_DIGIT and not dialog.in_field:
        return str(number)
    if dialog.selected == number:
        return "Enter"
    return "Down" if dialog.selected < number else "Up"


def _set_checkbox(pane: AgentPane, question: Question, number: int, *, wanted: bool) -> None:
    """Check or clear an option of a question that allows several."""
    for _ in range(_MAX_PRESSES):
        dialog = _await_question(pane, question)
        if dialog.is_checked(number) == wanted:
            return
        if _press(pane, dialog, _next_key(dialog, number)):
            _await(partial(_has_changed, pane, dialog))
    raise pane.failure(f"Option {number} of {question.text!r} can't be {'checked' if wanted else 'cleared'}")


def _fill_field(pane: AgentPane, question: Question, text: str) -> None:
    """Paste into the empty text field. A paste that comes too early is lost as a whole."""
    for _ in range(_MAX_PRESSES):
        _open_field(pane, question)
        time.sleep(_FIELD_SETTLE_TIME)
        dialog = _await_question(pane, question)
        if pane.paste_if(dialog.rows, dialog.cursor, text) and _await(partial(_has_changed, pane, dialog)):
            time.sleep(_FIELD_SETTLE_TIME)
            return
    raise pane.failure("The field for the answer did not take the text")


def _open_field(pane: AgentPane, question: Question) -> None:
    """Move the cursor to the text field, which is the option after the last."""
    field = len(question.options) + 1
    for _ in range(field + _MAX_PRESSES):
        dialog = _await_question(pane, question)
        if dialog.selected == field:
            return
        # With checkboxes a digit checks the field without moving there (2.1.300), so the arrows are used.
        arrow = "Down" if 0 < dialog.selected < field else "Up"
        if _press(pane, dialog, arrow if question.multiple or field > _LAST_DIGIT else str(field)):
            _await(partial(_has_changed, pane, dialog))
    raise pane.failure("The field for the answer could not be reached")


def _press_until_gone(pane: AgentPane, question: Question, number: int, is_answered: Callable[[], bool]) -> None:
    """Choose an option, or the text field, until the question is no longer drawn."""
    await_question = partial(_await_question, pane, question)
    for dialog, key, presses in _presses(pane, await_question(), number, await_question):
        if _await(partial(_is_over, pane, dialog, is_answered), 2 * _KEY_TIMEOUT):
            _clear_repeated_key(pane, key, presses)
            return
    raise pane.failure(f"{question.text!r} did not take the answer")


def _presses(
    pane: AgentPane, dialog: Dialog, number: int | None, next_dialog: Callable[[], Dialog]
) -> Iterator[tuple[Dialog, str, int]]:
    """Press the key for an option, or Escape for None, up to `_MAX_PRESSES` times; first move to the option if needed.

    After each press, yield the dialog before it, the key and the number of presses until now. `next_dialog` returns the
    dialog that is then to be continued with.
    """
    presses, moves = 0, 0
    most_moves = max(len(dialog.options), number or 0) + _MAX_PRESSES
    while presses < _MAX_PRESSES and moves < most_moves:
        key = _next_key(dialog, number) if number is not None else "Escape"
        if not _press(pane, dialog, key):
            moves += 1
        elif key in _ARROWS:
            moves += 1
            _await(partial(_has_changed, pane, dialog))
        else:
            presses += 1
            yield dialog, key, presses
        dialog = next_dialog()


def _clear_repeated_key(pane: AgentPane, key: str, presses: int) -> None:
    """Clear a key that was pressed more than once from the input box, where a busy machine may have put it late."""
    if presses > 1:
        clear_stray_input(pane, {key * count for count in range(1, presses)})


def clear_stray_input(pane: AgentPane, stray_texts: Set[str], timeout: float = 2 * _KEY_TIMEOUT) -> None:
    """Clear the input box if one of these texts, typed into a dialog, appears there within `timeout`."""
    deadline = Deadline(timeout)
    while True:
        expired = deadline.expired
        box = pane.box()
        if box and any(holds_text(box, text) for text in stray_texts):
            pane.clear_box()
            return
        if expired:
            return
        deadline.pause(POLL_INTERVAL)


def _press(pane: AgentPane, dialog: Dialog, key: str) -> bool:
    return pane.press_if(dialog.rows, dialog.cursor, key)


def _await_matching(pane: AgentPane, is_wanted: Callable[[Dialog], bool], what: str) -> Dialog:
    """Return the dialog once a matching one is drawn. Raises DeliveryFailed when none is."""

    def wanted() -> Dialog | None:
        dialog = current_dialog(pane)
        return dialog if dialog is not None and is_wanted(dialog) else None

    dialog = poll(wanted, Deadline(_DRAW_TIMEOUT), POLL_INTERVAL)
    if dialog is None:
        note = "" if pane.has_begun else "; nothing was pressed"
        raise pane.failure(f"{what} can't be read on the screen: it is hidden or does not fit{note}")
    return dialog


def _await_question(pane: AgentPane, question: Question) -> Dialog:
    """Return the dialog once it asks a question. Raises DeliveryFailed when it does not."""
    return _await_matching(pane, lambda dialog: dialog.shows(question), repr(question.text))


def _await_stable(pane: AgentPane, is_wanted: Callable[[Dialog], bool], what: str) -> Dialog:
    """Return a matching dialog once it has been unchanged for long enough to accept a key."""
    deadline = Deadline(2 * _DRAW_TIMEOUT)
    while not deadline.expired:
        dialog = _await_matching(pane, is_wanted, what)
        unchanged = Deadline(_SETTLE_TIME)
        while not unchanged.expired and current_dialog(pane) == dialog:
            unchanged.pause(POLL_INTERVAL)
        if unchanged.expired:
            return dialog
    note = "" if pane.has_begun else ", so nothing was pressed"
    raise pane.failure(f"{what} keeps changing on the screen{note}")


def _has_changed(pane: AgentPane, dialog: Dialog) -> bool:
    return current_dialog(pane) != dialog


def _is_over(pane: AgentPane, dialog: Dialog, is_answered: Callable[[], bool]) -> bool:
    return is_answered() or _is_gone(pane, dialog)


def _is_gone(pane: AgentPane, dialog: Dialog) -> bool:
    """Return whether a dialog is gone; while the screen is being redrawn, it may be missing in one poll."""
    if (now := current_dialog(pane)) is None:
        time.sleep(POLL_INTERVAL)
        now = current_dialog(pane)
    return now is None or now.identity != dialog.identity


def _await(condition: Callable[[], bool], seconds: float = _KEY_TIMEOUT) -> bool:
    return wait_until(condition, Deadline(seconds), POLL_INTERVAL)
