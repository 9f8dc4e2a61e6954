"""The table of what works on which version of the agents."""

from __future__ import annotations

import pytest

from tests.support import versions
from tests.support.versions import Verdict, report, verdicts

JUNIT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.real.test_flow" name="test_the_main_job[codex]" time="1" />
<testcase classname="tests.real.test_codex_turns" name="test_a_crash"><failure message="no">trace</failure></testcase>
<testcase classname="tests.real.test_codex_turns" name="test_a_crash"><error message="teardown">trace</error></testcase>
<testcase classname="tests.real.test_codex_turns" name="test_a_text[after 60 say-late]"><skipped /></testcase>
<testcase classname="tests.real.test_codex_turns" name="test_cleaned_up"><error message="teardown" /></testcase>
</testsuite></testsuites>"""


def test_each_case_gets_one_verdict_and_a_name_to_read() -> None:
    """Each case has one verdict and a readable name, also if its clean-up failed after it had passed."""
    assert verdicts(JUNIT) == {
        "flow: the main job": "ok",
        "codex turns: a crash": "FAIL",
        "codex turns: a text [after 60 say-late]": "skipped",
        "codex turns: cleaned up": "FAIL",
    }


def test_a_case_of_both_agents_is_one_row() -> None:
    """Versions stand side by side, and what a version does not have stays empty."""
    columns: dict[str, dict[str, Verdict]] = {
        "codex 0.169.0": {"flow: the main job": "ok", "codex turns: a crash": "FAIL"},
        "claude 2.1.330": {"flow: the main job": "skipped"},
    }
    assert report(columns).splitlines() == [
        "CASE                  codex 0.169.0  claude 2.1.330",
        "flow: the main job    ok             skipped",
        "codex turns: a crash  FAIL",
        "",
        "2 versions, 2 cases: 1 ok, 1 FAIL, 1 skipped",
    ]


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("skipped", 0), ("FAIL", 1)])
def test_one_failure_on_one_version_fails_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verdict: Verdict, code: int
) -> None:
    """One failure makes the exit code 1, after the table was printed."""
    monkeypatch.setattr(versions, "VERSIONS", {"codex": ("1", "2")})
    monkeypatch.setattr(versions, "install", lambda *_: None)
    monkeypatch.setattr(versions, "run", lambda _, version, __: {"a: case": "ok" if version == "1" else verdict})
    assert versions.main([]) == code
    assert verdict in capsys.readouterr().out


def test_a_run_that_breaks_off_is_a_failure() -> None:
    """A run that pytest ends before any test, as with an unknown argument, is a failure."""
    assert versions.run("codex", "0", ["--no-such-option"]) == {versions.THE_RUN: "FAIL"}
