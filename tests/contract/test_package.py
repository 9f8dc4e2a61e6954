"""The package as pip and an index see it; `tests/run --packaging` builds and installs it."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

from dev_sessions import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]


def test_the_metadata_are_complete() -> None:
    """An index shows what the program is, for which Python and systems, under which licence, and its version."""
    project = PROJECT["project"]
    assert project["version"] == __version__ == importlib.metadata.version("dev-sessions")
    assert "\n" not in project["description"]
    assert (ROOT / project["readme"]).is_file()
    assert project["license"] == "MIT"
    assert [(ROOT / file).is_file() for file in project["license-files"]] == [True]
    assert project["requires-python"] == f">={PROJECT['tool']['mypy']['python_version']}"
    assert {"claude-code", "codex", "agents"} <= set(project["keywords"])
    classifiers = project["classifiers"]
    assert classifiers == sorted(classifiers)
    for topic in ("Development Status", "Environment", "Intended Audience", "Operating System", "Topic", "Typing"):
        assert any(classifier.startswith(f"{topic} :: ") for classifier in classifiers), topic
    assert not any(classifier.startswith("License ::") for classifier in classifiers), "replaced by the field"


def test_the_run_time_dependencies_are_four() -> None:
    """The package needs click, websockets, filelock and pydantic, and nothing else."""
    names = [re.match(r"[a-z]+", requirement) for requirement in PROJECT["project"]["dependencies"]]
    assert sorted(name[0] for name in names if name) == ["click", "filelock", "pydantic", "websockets"]


def test_the_wheel_has_the_skills_and_the_types() -> None:
    """The wheel takes the whole package, with its type marker, and the skills where install-skill looks for them."""
    assert WHEEL["only-include"] == ["src/dev_sessions", "skills"]
    assert WHEEL["sources"] == {"src/dev_sessions": "dev_sessions", "skills": "dev_sessions/_skills"}
    assert (ROOT / "src" / "dev_sessions" / "py.typed").is_file()
    assert {file.parent.name for file in (ROOT / "skills").glob("*/SKILL.md")} == {
        "delegate",
        "dev-sessions",
        "handoff",
    }
    source = (ROOT / "src" / "dev_sessions" / "skills.py").read_text(encoding="utf-8")
    assert '"_skills"' in source
