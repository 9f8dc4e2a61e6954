"""Press keys in Claude's menus, pickers and forms.

A key is pressed only on a menu that is drawn, has been unchanged for as long as Claude may still ignore keys, and is
the same at the moment of the key (`AgentPane.press_if`). The arrows move to an option, Enter is pressed only while it
is selected, and the effect of each key is read from the screen before the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from dev_sessions.answers import chosen
from dev_sessions.claude.menus import Field, Menu, read
from dev_sessions.claude.message_text import visible
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.tmux import Snapshot
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Question
from dev_sessions.system.deadline import Deadline, poll, wait_until

#: Seconds for a menu to be drawn, and for a key to have an effect.
_DRAW_TIMEOUT, _KEY_TIMEOUT = 5.0, 2.0
#: Seconds for which a menu must be unchanged before the first key, which Claude may else ignore, and before another.
_SETTLE_TIME, _REDRAW_TIME = 0.3, 0.05
#: Seconds for the hidden options of a list to be drawn after the window was enlarged.
_ENLARGED_TIMEOUT = 1.5
#: How often a key that had no effect at all is pressed, and how many dialogs may lie above each other.
_MAX_PRESSES, _MAX_DEPTH = 4, 8
_TRUE, _FALSE = ("yes", "true", "on"), ("no", "false", "off")


def current_menu(pane: AgentPane) -> Menu | None:
    """Return the menu on the screen, or None if there is none or it can't be read."""
    return _menu_on(pane.snapshot())


def await_menu(pane: AgentPane, seconds: float) -> Menu | None:
    """Return the menu on the screen once it is whole and unchanged for a moment, waiting up to `seconds` for that.

    Then it is returned as it is; None if there is none.
    """
    deadline, redrawn = Deadline(seconds), Deadline(_ENLARGED_TIMEOUT)
    before: Menu | None = None
    settled = Deadline(0)
    while True:
        expired = deadline.expired
        snapshot = pane.snapshot()
        menu = _menu_on(snapshot)
        is_whole = menu is not None and not menu.is_loading and (redrawn.expired or not menu.is_cut)
        if expired or (is_whole and menu == before and settled.expired):
            return menu
        if menu != before:
            # After a resize, a busy Claude draws the old rows at the new width first, which looks like the whole menu.
            before, settled = menu, Deadline(_SETTLE_TIME if snapshot.is_enlarged else 0)
        deadline.pause(POLL_INTERVAL)


def _menu_on(snapshot: Snapshot) -> Menu | None:
    return read(snapshot.screen, snapshot.width, snapshot.cursor)


def choose(pane: AgentPane, menu: Menu, number: int) -> None:
    """Choose an option of a menu. Raises DeliveryFailed when that has no effect, or the menu has changed."""
    label = menu.options[number - 1].label
    before = _move_to(pane, menu, label, number)
    for _ in range(_MAX_PRESSES):
        if _press(pane, before, before.confirm_key):
            return
        before = _move_to(pane, menu, label, number)
    raise pane.failure(f"{menu.title!r} did not take {label!r}")


def fill_field(pane: AgentPane, menu: Menu, text: str) -> None:
    """Replace the text in the field of a menu, and submit it. Raises DeliveryFailed when that has no effect."""
    before = _enter_text(pane, menu, text, lambda now: now.field_text)
    if not _press(pane, before, "Enter"):
        raise pane.failure(f"{menu.title!r} did not take the text, which is in its field")


def fill_form(pane: AgentPane, form: Menu, answers: Sequence[str]) -> None:
    """Fill in all fields of a form, and accept it. "" leaves a field as it is.

    Raises InvalidRequest when an answer does not fit its field, which leaves the form open, and DeliveryFailed.
    """
    for number, answer in enumerate(answers, 1):
        if answer:
            _fill(pane, form, number, answer)
    choose(pane, form, 1)
    wait_until(lambda: bool(_problems(current_menu(pane))), Deadline(_SETTLE_TIME), POLL_INTERVAL)
    if problems := _problems(current_menu(pane)):
        raise InvalidRequest(
            f"The form was filled in, but was not accepted: {problems}; the form is still open, so answer again"
        )


def close(pane: AgentPane, is_open: Callable[[], bool]) -> None:
    """Press Escape on what is drawn until `is_open` returns False. Raises DeliveryFailed when it has no effect."""
    for _ in range(_MAX_DEPTH):
        menu = _await_stable(pane, None)
        _press(pane, menu, "Escape")
        redrawn = Deadline(_SETTLE_TIME)

        def outcome(redrawn: Deadline = redrawn) -> str | None:
            # What Claude reports may lag behind the screen.
            if not is_open():
                return "closed"
            return "drawn" if redrawn.expired and current_menu(pane) is not None else None

        found = poll(outcome, Deadline(_DRAW_TIMEOUT), POLL_INTERVAL)
        if found == "closed":
            return
        if found is None:
            break
    raise pane.failure("Escape was pressed, but nothing proves that the dialog is closed")


def _fill(pane: AgentPane, form: Menu, number: int, answer: str) -> None:
    """Fill in a field of a form."""
    now = _move_to_field(pane, form, number)
    field = now.fields[number - 1]
    if field.is_checkbox:
        _set_box(pane, form, number, answer)
    elif field.can_expand or field.choices:
        _choose_in_field(pane, form, number, answer)
    else:
        _enter_text(pane, now, answer, lambda menu: _text_of(_field(menu, number)))


def _set_box(pane: AgentPane, form: Menu, number: int, answer: str) -> None:
    word = answer.strip().casefold()
    label = form.fields[number - 1].label
    if word not in (*_TRUE, *_FALSE):
        raise InvalidRequest(f"{label!r} is either yes or no, not {answer!r}; the form is still open, so answer again")
    for _ in range(_MAX_PRESSES):
        now = _move_to_field(pane, form, number)
        if now.fields[number - 1].checked == (word in _TRUE):
            return
        _press(pane, now, "Space")
    raise pane.failure(f"{label!r} can't be set")


def _choose_in_field(pane: AgentPane, form: Menu, number: int, answer: str) -> None:
    """Choose one or several of the choices of a field, which are drawn only while it is expanded."""
    now = _move_to_field(pane, form, number)
    if not now.fields[number - 1].choices:
        _press(pane, now, "Right")
        now = _move_to_field(pane, form, number)
    field = now.fields[number - 1]
    question = Question(field.label, tuple((label, "") for label, _ in field.choices), field.multiple)
    numbers = chosen(question, answer) if field.choices else None
    if numbers is None:
        offered = ", ".join(f"{at}. {label}" for at, (label, _) in enumerate(field.choices, 1))
        raise InvalidRequest(
            f"{answer!r} is none of the choices of {field.label!r}: {offered}; the form is still open, so answer again"
        )
    for at in range(1, len(field.choices) + 1) if field.multiple else numbers:
        now = _mark_choice(pane, form, number, at)
        if field.multiple and now.fields[number - 1].choices[at - 1][1] != (at in numbers):
            _press(pane, now, "Space")
    now = _await_stable(pane, form)
    if not _press(pane, now, "Enter"):
        raise pane.failure(f"{field.label!r} did not take the choice")


def _mark_choice(pane: AgentPane, form: Menu, number: int, at: int) -> Menu:
    """Mark a choice of an expanded field."""
    for _ in range(len(form.fields) + 100):
        now = _await_stable(pane, form)
        field = _field(now, number)
        if field is None or not field.choices:
            break
        if field.marked == at:
            return now
        _press(pane, now, "Down" if field.marked < at else "Up")
    raise pane.failure("The choices can't be reached")


def _move_to_field(pane: AgentPane, form: Menu, number: int) -> Menu:
    """Select a field of a form."""
    for _ in range(2 * len(form.fields) + _MAX_PRESSES):
        now = _await_stable(pane, form)
        if len(now.fields) != len(form.fields):
            break
        if now.selected_field == number:
            return now
        _press(pane, now, "Down" if now.selected_field < number else "Up")
    raise pane.failure(f"The field {form.fields[number - 1].label!r} can't be reached")


def _enter_text(pane: AgentPane, menu: Menu, text: str, read_text: Callable[[Menu], str | None]) -> Menu:
    """Replace the text of a selected field, and return the menu that shows the new one.

    Raises DeliveryFailed when the field does not show it.
    """
    line = " ".join(text.split())
    for _ in range(_MAX_PRESSES):
        now = _await_stable(pane, menu)
        if read_text(now) and not _press(pane, now, "C-u"):
            continue
        now = _await_stable(pane, menu, _SETTLE_TIME)
        if not pane.paste_if(now.rows, now.cursor, line):
            continue
        wait_until(partial(_has_changed, pane, now), Deadline(_KEY_TIMEOUT), POLL_INTERVAL)
        now = _await_stable(pane, menu)
        shown = read_text(now)
        if shown and _is_shown(line, shown):
            return now
    raise pane.failure(f"The field of {menu.title!r} did not take the text")


def _is_shown(text: str, shown: str) -> bool:
    """Return whether a field shows a text; of a long one it draws a part."""
    whole, end, beginning = (visible(each) for each in (text, shown.lstrip("…"), shown.rstrip("…")))
    return bool(end and beginning) and (whole.endswith(end) or whole.startswith(beginning))


def _move_to(pane: AgentPane, menu: Menu, label: str, number: int) -> Menu:
    """Move to an option, and return the menu in which it is selected."""
    lost = 0
    for _ in range(2 * (len(menu.options) + len(menu.fields)) + _MAX_PRESSES):
        now = _await_stable(pane, menu)
        target = now.number_of(label, number)
        if target == 0:
            raise pane.failure(f"{menu.title!r} no longer offers {label!r}")
        if now.selected == target:
            return now
        lost = 0 if _press(pane, now, _arrow(now, target)) else lost + 1
        if lost == _MAX_PRESSES:
            break
    raise pane.failure(f"{label!r} of {menu.title!r} can't be selected")


def _arrow(menu: Menu, target: int) -> str:
    """Return the key that moves towards an option."""
    if menu.is_slider or (menu.is_form and menu.selected):
        return "Right" if menu.selected < target else "Left"
    return "Down" if menu.selected < target else "Up"


def _await_stable(pane: AgentPane, menu: Menu | None, seconds: float | None = None) -> Menu:
    """Return the menu once it has been unchanged for long enough to accept a key, or for these seconds.

    Raises DeliveryFailed when none is drawn, or not the one given.
    """
    deadline = Deadline(2 * _DRAW_TIMEOUT)
    note = "" if pane.has_begun else ", so nothing was pressed"
    while not deadline.expired:
        now = poll(lambda: current_menu(pane), Deadline(_DRAW_TIMEOUT), POLL_INTERVAL)
        if now is None:
            raise pane.failure(f"The dialog can't be read on the screen{note}")
        unchanged = Deadline(seconds or (_REDRAW_TIME if pane.has_begun else _SETTLE_TIME))
        while not unchanged.expired and current_menu(pane) == now:
            unchanged.pause(POLL_INTERVAL)
        if not unchanged.expired:
            continue
        if menu is not None and not menu.is_same(now):
            raise pane.failure(f"{now.title!r} has replaced the dialog that was to be answered{note}")
        return now
    raise pane.failure(f"The dialog keeps changing on the screen{note}")


def _press(pane: AgentPane, menu: Menu, key: str) -> bool:
    """Press a key on a menu, and return whether the screen has changed since."""
    return pane.press_if(menu.rows, menu.cursor, key) and wait_until(
        partial(_has_changed, pane, menu), Deadline(_KEY_TIMEOUT), POLL_INTERVAL
    )


def _has_changed(pane: AgentPane, menu: Menu) -> bool:
    return current_menu(pane) != menu


def _field(menu: Menu, number: int) -> Field | None:
    return menu.fields[number - 1] if number <= len(menu.fields) else None


def _text_of(field: Field | None) -> str | None:
    return None if field is None or field.is_empty_text else field.value


def _problems(menu: Menu | None) -> str:
    """Return why a form was not accepted, or ""."""
    fields = menu.fields if menu is not None else ()
    return "; ".join(f"{field.label}: {field.note}" for field in fields if field.is_rejected)
