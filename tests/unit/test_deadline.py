"""Deadlines, polling and durations."""

import pytest

from dev_sessions.system.deadline import Deadline, duration, poll


def test_a_deadline_in_the_past_still_looks_once() -> None:
    """A result that is there already is returned, even at an expired deadline."""
    assert poll(lambda: "there", Deadline(0)) == "there"
    assert poll(lambda: None, Deadline(0)) is None


def test_polling_ends_with_the_first_result() -> None:
    """Polling ends with the first result."""
    answers = iter([None, None, "third", "fourth"])
    assert poll(lambda: next(answers), Deadline(5), 0.001) == "third"


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("72h", 259200), ("7d", 604800), ("90s", 90)])
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    """Durations such as 30m, 72h and 7d are parsed."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-3h", "1.5h", "3w", "3h4m"])
def test_anything_else_is_no_duration(text: str) -> None:
    """An invalid duration is an error."""
    with pytest.raises(ValueError, match="not a duration"):
        duration(text)
