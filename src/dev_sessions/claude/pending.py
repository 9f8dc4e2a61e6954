"""Describe what a session waits for, and compare answers with what was taken. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dev_sessions.answers import chosen
from dev_sessions.claude.dialogs import Dialog, Option, drawn
from dev_sessions.claude.menus import Field, Menu
from dev_sessions.claude.message import answer_text
from dev_sessions.claude.message_text import visible
from dev_sessions.claude.transcript import PLAN_TOOL, ToolUse, split_answers
from dev_sessions.models import Pending, Question
from dev_sessions.system.fast_dataclass import replace

#: Words of the options of a plan's approval, and the mode that each leads to (2.1.250 to 2.1.332).
_MODES = (
    ("bypass permissions", "bypass permissions, which asks for nothing"),
    ("auto mode", "auto mode, in which Claude decides what to ask"),
    ("accept edits", "accept edits, which asks for commands, but not for edits"),
    ("auto-accept edits", "accept edits, which asks for commands, but not for edits"),
    ("manually approve edits", "manual mode, which asks each time"),
    ("switch to default", "manual mode, which asks each time"),
    ("tell claude what to change", "still plan mode"),
    ("keep planning", "still plan mode"),
)


def pending_questions(tool: ToolUse) -> Pending:
    """Return the questions of an AskUserQuestion call."""
    raw = tool.input.get("questions") if isinstance(tool.input, dict) else None
    questions = tuple(_question(item) for item in raw if isinstance(item, dict)) if isinstance(raw, list) else ()
    return Pending("question", "; ".join(question.text for question in questions) or "a question", questions)


def _question(raw: dict[str, object]) -> Question:
    options = raw.get("options")
    return Question(
        str(raw.get("question", "")),
        tuple(
            (str(option.get("label", "")), str(option.get("description", "")))
            for option in (options if isinstance(options, list) else ())
            if isinstance(option, dict)
        ),
        multiple=raw.get("multiSelect") is True,
    )


def pending_menu(menu: Menu) -> Pending:
    """Return a menu with its options, or a form with a question for each of its fields."""
    if menu.fields:
        buttons = " or ".join(repr(option.label) for option in menu.options)
        asks = f"{menu.text}\n\nGive one answer to each of its {len(menu.fields)} field(s), or only {buttons}:"
        fields = [_field_question(field) for field in menu.fields]
        return Pending("dialog", menu.title, (replace(fields[0], text=f"{asks}\n\n{fields[0].text}"), *fields[1:]))
    more = [
        f"{count} more options {where}" for count, where in zip(menu.hidden, ("above", "below"), strict=True) if count
    ]
    field = [] if menu.field_text is None else [f"(It takes a text, and has {menu.field_text!r} now.)"]
    text = "\n".join([menu.text, *(f"({line}, which are hidden)" for line in more), *field])
    options = tuple((option.label, option.description) for option in menu.options)
    return Pending("dialog", menu.title, (Question(text, options),))


def _field_question(field: Field) -> Question:
    about = ", ".join(filter(None, ["required" if field.is_required or field.is_rejected else "", field.note]))
    value = "" if field.is_empty_text or field.value.endswith(("not set", "▾")) else f" = {field.value}"
    text = f"{field.label}{value}{f' ({about})' if about else ''}"
    return Question(text, tuple((label, "") for label, _ in field.choices), field.multiple)


def pending_permission(tools: Sequence[ToolUse], dialog: Dialog | None) -> Pending:
    """Return a request for permission, with its options if the first of them is visible."""
    options = dialog.options if dialog is not None and dialog.options[0].number == 1 else ()
    text = dialog.text if dialog is not None else "(its dialog can't be read on the screen)"
    # If several calls are open, the dialog is about the one whose input it shows.
    shown = visible(text)
    calls = [tool for tool in tools if len(tools) == 1 or any(words in shown for words in _input_texts(tool))]
    what = f"permission for {calls[0].name}" if calls else "a permission"
    labels = tuple((option.label, _mode_after(option)) for option in options)
    plan = calls[0].input.get("plan") if calls and isinstance(calls[0].input, dict) else None
    if dialog is not None and calls and calls[0].name == PLAN_TOOL and isinstance(plan, str) and plan.strip():
        # The screen may show a part of it, and what it says below is the question.
        text = "\n".join([*dialog.text.split("\n")[:2], "", plan.strip(), "", dialog.text.rpartition("\n")[2]])
    return Pending("permission", what, (Question(f"Claude asks {what}:\n{text}", labels),))


def _mode_after(option: Option) -> str:
    """Return the permission mode that an option of a plan's approval leads to, or "" if it changes none."""
    label = option.label.casefold().replace("\u2019", "'")
    return next((f"the mode is then {mode}" for words, mode in _MODES if words in label), "")


def _input_texts(tool: ToolUse) -> list[str]:
    values = tool.input.values() if isinstance(tool.input, dict) else ()
    return [words for value in values if isinstance(value, str) and (words := visible(value))]


def parse_answer(question: Question, text: str) -> list[int] | str:
    """Return the numbers of the options that are chosen, or its text. Raises InvalidRequest for another number."""
    numbers = chosen(question, text)
    return answer_text(text) if numbers is None else numbers


def is_answer(question: Question, meant: list[int] | str, answer: str) -> bool:
    """Return whether an answer in the transcript is the one that was given; Claude orders options by itself."""
    if isinstance(meant, str):
        return [visible(meant)] == [
            visible(text) for text in (split_answers(answer) if question.multiple else [answer])
        ]
    # The labels of a question that was not written are those on the screen.
    labels = sorted(drawn(question.options[number - 1][0]) for number in meant)
    return labels == sorted(map(drawn, split_answers(answer) if question.multiple else [answer]))


def typed_texts(question: Question, meant: list[int] | str) -> list[str]:
    """Return the texts that are typed to give an answer: the field's number and its text, or numbers of options."""
    return [str(len(question.options) + 1), meant] if isinstance(meant, str) else [str(number) for number in meant]
