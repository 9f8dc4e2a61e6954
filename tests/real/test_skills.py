"""The real agents find the skills after `install-skill`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dev_sessions import skills
from tests.support.cli import both, create, ok, records
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked

NAMES = {"delegate", "dev-sessions", "handoff"}


def descriptions() -> dict[str, str]:
    """Return the description of each skill."""
    found = {name: re.search(rb"^description: (.*)$", text, re.M) for name, text in skills.shipped().items()}
    return {name: match[1].decode() for name, match in found.items() if match}


def listed(model: ScriptedModel) -> dict[str, int]:
    """Return how often each of our skills, with its whole description, is in the agent's request to its model."""
    texts = _texts(model.turns()[-1].body)
    return {name: texts.count(f"- {name}: {text}") for name, text in descriptions().items()}


def _texts(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(map(_texts, value.values()))
    return "\n".join(map(_texts, value)) if isinstance(value, list) else str(value)


@pytest.mark.parametrize(
    ("agent", "scope"),
    [
        *(("claude", "--local"), ("codex", "--global")),
        *(pytest.param(*case, marks=pytest.mark.matrix) for case in (("claude", "--global"), ("codex", "--local"))),
    ],
)
def test_an_agent_offers_the_installed_skills_to_its_model(
    home: Home, model: ScriptedModel, agent: str, scope: str
) -> None:
    """A session's model reads each skill's name and description, once, whichever place it was installed in."""
    ok(home.cli("install-skill", scope, f"--{agent}", cwd=home.workspace()))
    ok(home.cli("ask", create(home, agent), "say hello"))
    assert listed(model) == dict.fromkeys(NAMES, 1)


@both
def test_in_both_places_a_skill_is_the_same(home: Home, model: ScriptedModel, agent: str) -> None:
    """Skills installed both globally and in the project are offered, and the session works."""
    for scope in ("--global", "--local"):
        ok(home.cli("install-skill", scope, f"--{agent}", cwd=home.workspace()))
    assert ok(home.cli("ask", create(home, agent), "say hello")) == "hello\n"
    assert all(count >= 1 for count in listed(model).values())


def test_the_folders_of_the_agents_own_choice_are_read(home: Home, model: ScriptedModel) -> None:
    """Skills that were installed with CLAUDE_CONFIG_DIR or CODEX_HOME set are found by agents with the same setting."""
    for agent, variable, folder in (("claude", "CLAUDE_CONFIG_DIR", ".claude"), ("codex", "CODEX_HOME", ".codex")):
        other = home.path / f"other{folder}"
        (home.path / folder).rename(other)
        if agent == "claude":
            (home.path / ".claude.json").rename(other / ".claude.json")
        env = {variable: str(other)}
        done = home.cli("install-skill", f"--{agent}", env=env)
        assert str(other / "skills" / "handoff" / "SKILL.md") in ok(done)
        sid = ok(home.cli("create", "-q", "--cli", agent, cwd=home.workspace(), env=env)).strip()
        ok(home.cli("ask", sid, "say hello"))
        assert listed(model) == dict.fromkeys(NAMES, 1)


@pytest.fixture
def shared_sid(shared_home: Home) -> str:
    """Provide the session of Claude in the home that tests share, in which the skills are installed."""
    if not records(shared_home):
        ok(shared_home.cli("install-skill", "--claude"))
        create(shared_home, "claude")
    return next(iter(records(shared_home)))


def test_claude_lists_the_skills_in_its_transcript(shared_home: Home, shared_sid: str) -> None:
    """The transcript of a session names the skills that it has."""
    home, sid = shared_home, shared_sid
    ok(home.cli("ask", sid, "say hello"))
    record = json.loads(ok(home.cli("inspect", sid)))
    (transcript,) = (home.path / ".claude" / "projects").rglob(f"{record['internalId']}.jsonl")
    entries = [json.loads(line).get("attachment", {}) for line in transcript.read_text().splitlines()]
    (listing,) = [entry for entry in entries if entry.get("type") == "skill_listing"]
    assert all(f"- {name}: {text}" in listing["content"] for name, text in descriptions().items())


def test_codex_lists_the_skills_without_complaint(home: Home) -> None:
    """The app-server names each skill, enabled, and finds nothing wrong with any."""
    ok(home.cli("install-skill", "--codex"))
    server = home.popen("codex", "app-server", cwd=home.workspace())

    def call(number: int, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps({"id": number, "method": method, "params": parameters}), file=server.stdin, flush=True)
        answers = (json.loads(line) for line in server.stdout)
        return next(answer["result"] for answer in answers if answer.get("id") == number)

    call(1, "initialize", {"clientInfo": {"name": "test", "version": "0"}})
    (found,) = call(2, "skills/list", {"cwds": [str(home.workspace())]})["data"]
    assert found["errors"] == []
    place = home.path / ".codex" / "skills"
    ours = {skill["path"]: skill for skill in found["skills"] if skill["name"] in NAMES}
    assert set(ours) == {str(place / name / "SKILL.md") for name in NAMES}
    assert all(skill["enabled"] for skill in ours.values())
    assert {skill["name"]: skill["description"] for skill in ours.values()} == descriptions()


def test_claude_loads_a_skill_when_it_is_called(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """The skill's text reaches the model when the user calls it by name."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "/handoff"))
    ok(home.cli("wait", sid))
    text = (Path(__file__).parents[2] / "skills" / "handoff" / "SKILL.md").read_text()
    assert text.partition("---\n\n")[2].strip() in _texts(model.turns()[-1].body)
