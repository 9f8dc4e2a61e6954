"""Session ids."""

import random
import re

from dev_sessions.sessions import champion_ids


def test_names_are_a_champion_and_a_role() -> None:
    """A new id is a champion, a dash and a role."""
    name = champion_ids.allocate((), random.Random(1))
    champion, _, role = name.rpartition("-")
    assert champion in champion_ids.CHAMPIONS
    assert role in champion_ids.ROLES


def test_every_name_is_a_valid_id() -> None:
    """Every name can be passed to --id."""
    assert all(champion_ids.is_valid(champion) for champion in champion_ids.CHAMPIONS)
    assert not any(champion_ids.is_valid(text) for text in ("", "Fizz-top", "fizz top", "fizz_top", "fizz-top\n", "é"))


def test_a_taken_name_is_never_given_again() -> None:
    """Names stay unique, also when all plain ones are in use."""
    rng = random.Random(2)
    taken: set[str] = set()
    for _ in range(len(champion_ids.CHAMPIONS) * len(champion_ids.ROLES) + 5):
        name = champion_ids.allocate(taken, rng)
        assert name not in taken
        taken.add(name)
    assert sum(re.search(r"-2$", name) is not None for name in taken) == 5
