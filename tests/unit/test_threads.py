"""Functions in threads."""

from __future__ import annotations

import pytest

from dev_sessions.system.threads import gather


def test_an_error_in_a_thread_is_not_lost() -> None:
    """If one of several things that are done at once fails, that is an error and not a shorter answer."""

    def fail() -> int:
        raise RecursionError("too deep")

    with pytest.raises(RecursionError, match="too deep"), gather([lambda: 1, fail]):
        pass
    with gather([lambda: 1, lambda: 2]) as results:
        pass
    assert sorted(results) == [1, 2]
