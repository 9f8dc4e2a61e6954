"""Match the answers on a command line with the options of a question. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Pending, Question


def chosen(question: Question, answer: str) -> list[int] | None:
    """Return the numbers of the options that an answer names, by number or label; None when it is free text.

    A number of an option is that, even if another option has it as its label.

    With `question.multiple`, options are separated by commas. Raises InvalidRequest for a number out of range, and for
    a label that matches several options if case is ignored.
    """
    numbers: list[int] = []
    is_one_label = bool(_matching(question, answer))
    for part in answer.split(",") if question.multiple and not is_one_label else [answer]:
        word = part.strip()
        if word.isdecimal() and len(word) < 9 and 1 <= int(word) <= len(question.options):
            numbers.append(int(word))
        elif matches := _matching(question, word):
            if len(matches) > 1:
                listed = ", ".join(map(str, matches))
                raise InvalidRequest(f"{word!r} may be any of the options {listed}; give the number of one")
            numbers += matches
        elif word.isdecimal() and question.options:
            raise InvalidRequest(
                f"There is no option {word}: {question.text!r} has {len(question.options)}; choose one of them"
            )
        else:
            return None
    return list(dict.fromkeys(numbers))


def _matching(question: Question, word: str) -> list[int]:
    """Return the number of the option with exactly this label, or else of all whose normalized label is the same."""
    labels = [label for label, _ in question.options]
    if labels.count(word.strip()) == 1:
        return [labels.index(word.strip()) + 1]
    return [number for number, label in enumerate(labels, 1) if _normalized(label) == _normalized(word)]


def _normalized(label: str) -> str:
    # The apostrophe of a keyboard matches a typographic one.
    return label.strip().casefold().replace("\u2019", "'")


def require_fit(session_id: str, pending: Pending, answers: Sequence[str], allow: bool | None) -> None:
    """Raise InvalidRequest unless there is one answer to each question, or one decision on a permission."""
    if pending.kind == "permission":
        if (allow is None) == (not answers) or len(answers) > 1:
            raise InvalidRequest(f"{session_id} asks {pending.what}; give --allow, --deny or one of its options")
    elif allow is not None:
        raise InvalidRequest(
            f"{session_id} asks a question, not for a permission: {pending.what}; give an option or a text"
        )
    elif len(answers) != len(pending.questions):
        count = len(pending.questions)
        raise InvalidRequest(f"{session_id} asks {count} question(s); give one answer to each: {pending.what}")
