"""What an answer on the command line means for the question that it is given to. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Pending, Question


def chosen(question: Question, answer: str) -> list[int] | None:
    """The numbers of the options that an answer names, by number or label; None when it is free text.

    Several are separated by commas where several may be chosen. InvalidRequest for a number that is no option.
    """
    numbers: list[int] = []
    labels = {label.casefold(): number for number, (label, _) in enumerate(question.options, 1)}
    for part in answer.split(",") if question.multiple else [answer]:
        word = part.strip()
        if word.casefold() in labels:
            numbers.append(labels[word.casefold()])
        elif word.isdigit() and 1 <= int(word) <= len(question.options):
            numbers.append(int(word))
        elif word.isdigit() and question.options:
            raise InvalidRequest(
                f"There is no option {word}: {question.text!r} has {len(question.options)}; choose one of them"
            )
        else:
            return None
    return numbers


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
