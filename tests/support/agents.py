"""The real agents that the tests drive: pinned in pyproject.toml, installed from npm below `.agents/`.

`python -m tests.support.agents` installs the pinned ones that are missing; with `--check` it only names the first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / ".agents"
PACKAGES = {"claude": "@anthropic-ai/claude-code", "codex": "@openai/codex"}


class AgentMissing(Exception):
    """Raised when a version of an agent is not installed. The message says how to install it."""


def pinned() -> dict[str, str]:
    """Return the version of each agent that the tests run: DEV_SESSIONS_TEST_CLAUDE and _CODEX override the pinned
    ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    versions: dict[str, str] = project["tool"]["dev-sessions"]["agents"]
    return {name: os.environ.get(f"DEV_SESSIONS_TEST_{name.upper()}", version) for name, version in versions.items()}


def agent_bin(name: str, version: str | None = None) -> Path:
    """Return the directory that holds the agent's program, of the pinned version by default."""
    wanted = version or pinned()[name]
    directory = _bin(_prefix(name, wanted))
    if not (directory / name).exists():
        raise AgentMissing(f"{name} {wanted} is not installed below {AGENTS}; run tests/run, which installs it")
    return directory


def program_bin(name: str, version: str) -> Path:
    """Return the directory that holds the agent's program itself: npm's `codex` is a launcher in node, which starts it
    and waits for it."""
    launcher = agent_bin(name, version)
    found = _prefix(name, version).glob(f"node_modules/@openai/*/vendor/*/bin/{name}")
    return next((program.parent for program in found), launcher)


def install(name: str, version: str) -> Path:
    """Install an agent's version unless it is there; returns the directory of its program.

    npm works in a directory beside the final one, which appears whole or not at all: an install that was killed is
    never taken for a finished one.
    """
    prefix = _prefix(name, version)
    if not (_bin(prefix) / name).exists():
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{version}-", dir=prefix.parent) as scratch:
            partial = Path(scratch) / version
            partial.mkdir()
            _npm_install(partial, f"{PACKAGES[name]}@{version}")
            shutil.rmtree(prefix, ignore_errors=True)
            partial.rename(prefix)
    return agent_bin(name, version)


def main(args: list[str]) -> int:
    """Install every pinned agent, or look whether each is there."""
    provide = agent_bin if args == ["--check"] else install
    try:
        for name, version in pinned().items():
            print(f"{name} {version}: {provide(name, version)}", flush=True)
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(error.cmd)}: failed; is npm's registry reachable?", file=sys.stderr)
        return 1
    except AgentMissing as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _prefix(name: str, version: str) -> Path:
    return AGENTS / name / version


def _bin(prefix: Path) -> Path:
    return prefix / "node_modules" / ".bin"


def _npm_install(prefix: Path, package: str) -> None:
    """Install with the user's npm configuration (registry, proxy), but with cache and logs inside the checkout."""
    command = ["npm", "install", "--prefix", str(prefix), "--no-audit", "--no-fund", "--loglevel=error", package]
    print("+", " ".join(command), flush=True)
    env = {**os.environ, "npm_config_cache": str(AGENTS / ".npm-cache"), "npm_config_update_notifier": "false"}
    subprocess.run(command, env=env, cwd=AGENTS, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
