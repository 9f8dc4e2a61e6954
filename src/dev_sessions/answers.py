"""What an answer on the command line means for the question that it is given to. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Pending, Question


def chosen(question: Question, answer: str) -> list[int] | None:
    """Return the numbers of the options that an answer names, by number or label; None when it is free text.

    Several are separated by commas where several may be chosen. Raises InvalidRequest for a number that is no option,
    and for a label of which only the case would tell which option it is.
    """
    numbers: list[int] = []
    whole = _labelled(question, answer)
    for part in answer.split(",") if question.multiple and not whole else [answer]:
        word = part.strip()
        if found := _labelled(question, word):
            if len(found) > 1:
                raise InvalidRequest(f"{word!r} may be any of the options {_listed(found)}; give the number of one")
            numbers += found
        elif word.isdigit() and 1 <= int(word) <= len(question.options):
            numbers.append(int(word))
        elif word.isdigit() and question.options:
            raise InvalidRequest(
                f"There is no option {word}: {question.text!r} has {len(question.options)}; choose one of them"
            )
        else:
            return None
    return list(dict.fromkeys(numbers))


def _labelled(question: Question, word: str) -> list[int]:
    """Return the number of the option with this very label, or else of all that differ from it in their case alone."""
    labels = [label for label, _ in question.options]
    if labels.count(word.strip()) == 1:
        return [labels.index(word.strip()) + 1]
    return [number for number, label in enumerate(labels, 1) if _plain(label) == _plain(word)]


def _plain(label: str) -> str:
    # A person types the apostrophe of the keyboard.
    return label.strip().casefold().replace("\u2019", "'")


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def require_fit(session_id: str, pending: Pending, answers: Sequence[str], allow: bool | None) -> None:
    """InvalidRequest unless there is one answer to each question, or one decision on a permission."""
    if pending.kind == "permission":
        if (allow is None) == (not answers) or len(answers) > 1:
            raise InvalidRequest(f"{session_id} asks {pending.what}; give --allow, --deny or one of its options")
    elif allow is not None:
        raise InvalidRequest(f"{session_id} asks a question, no permission: {pending.what}; give an option or a text")
    elif len(answers) != len(pending.questions):
        count = len(pending.questions)
        raise InvalidRequest(f"{session_id} asks {count} question(s); give one answer to each: {pending.what}")
