"""Parse answers given on the command line."""

from __future__ import annotations

import pytest

from dev_sessions.answers import chosen
from dev_sessions.claude.transcript import split_answers
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Question


def question(*labels: str, multiple: bool = False) -> Question:
    """Return a question with these options."""
    return Question("Which?", tuple((label, "") for label in labels), multiple=multiple)


@pytest.mark.parametrize(
    ("labels", "answer", "numbers"),
    [
        (("red", "blue"), "Blue", [2]),
        (("Red", "red"), "Red", [1]),
        (("Masse", "Ma\u00dfe"), "Masse", [1]),
        (("Yes, and don\u2019t ask again", "No"), "yes, and don't ask again", [1]),
        (("red", "blue"), "neither", None),
        (("2", "1", "10"), "1", [1]),
        (("2", "1", "10"), "2", [2]),
        (("2", "1", "10"), "10", [3]),
        (("2", "1"), "½", None),
    ],
)
def test_a_label_is_that_very_option(labels: tuple[str, ...], answer: str, numbers: list[int] | None) -> None:
    """An option is chosen by its label in any case, unless another label matches exactly."""
    assert chosen(question(*labels), answer) == numbers


@pytest.mark.parametrize(
    ("labels", "answer", "numbers"),
    [
        (("red", "blue", "green"), "3, red,1", [3, 1]),
        (("a, b", "c"), "a, b", [1]),
        (("a, b", "c"), "1,2", [1, 2]),
    ],
)
def test_several_are_separated_by_commas(labels: tuple[str, ...], answer: str, numbers: list[int]) -> None:
    """Each option counts once, and a label that contains a comma is one option."""
    assert chosen(question(*labels, multiple=True), answer) == numbers


def test_a_label_of_two_options_is_refused() -> None:
    """If two options differ only in case, another case chooses neither."""
    with pytest.raises(InvalidRequest, match="may be any of the options 1, 2; give the number of one"):
        chosen(question("Red", "red"), "RED")


@pytest.mark.parametrize(
    ("written", "parts"),
    [("x, z", ["x", "z"]), ('red, "a, b", "say \\"c\\""', ["red", "a, b", 'say "c"']), ('"no, none"', ["no, none"])],
)
def test_a_written_answer_is_read_part_by_part(written: str, parts: list[str]) -> None:
    """Claude quotes a part that contains a comma or a quote (2.1.332)."""
    assert split_answers(written) == parts
