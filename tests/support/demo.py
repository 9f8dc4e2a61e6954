"""Runs the usage block of the README with the real agents, showing every command with its output.

`python -m tests.support.demo`: in a throw-away home, on the scripted model. With `--live`: in the user's own home,
with their logins, on a tmux server of its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.agents import ROOT, agent_bin
from tests.support.home import Home
from tests.support.model import ScriptedModel

_BLOCK = re.compile(r"<!-- tests/demo runs this block.*?-->\n```bash\n(.*?)```", re.DOTALL)
_EXPECTED = re.compile(r"\s+# prints (.*)$")
_MARK = "\x1e"


@dataclass(frozen=True)
class Command:
    """One line of the usage block: the command, and its expected output (None: anything)."""

    line: str
    expected: str | None


def usage(readme: str) -> list[Command]:
    """Return the commands of the README's usage block. Pure."""
    block = _BLOCK.search(readme)
    if block is None:
        raise ValueError("the README has no usage block")
    commands: list[Command] = []
    for line in block[1].splitlines():
        if line and not line.startswith("#"):
            expected = _EXPECTED.search(line)
            commands.append(Command(_EXPECTED.sub("", line), expected[1] if expected else None))
    return commands


def run(commands: list[Command], directory: Path, env: Mapping[str, str]) -> list[str]:
    """Run commands in one shell, as a person would type them; what is wrong with what they print, if anything."""
    script = "set -e\n" + "\n".join(f"printf '\\036\\n'; {command.line}" for command in commands)
    shell = subprocess.Popen(
        ["bash", "-c", script], cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    printed: list[list[str]] = []
    with shell:
        assert shell.stdout is not None
        for line in shell.stdout:
            if line == f"{_MARK}\n":
                print(f"\n$ {commands[len(printed)].line}", flush=True)
                printed.append([])
            else:
                print(line, end="", flush=True)
                printed[-1].append(line)
    wrong: list[str] = []
    if shell.returncode != 0:
        wrong.append(f"{commands[len(printed) - 1].line}: exit code {shell.returncode}")
    for command, lines in zip(commands, printed, strict=False):
        text = "".join(lines).strip()
        if command.expected is not None and text != command.expected:
            wrong.append(f"{command.line}: printed {text!r}, not {command.expected!r}")
    return wrong


@contextmanager
def scripted() -> Iterator[tuple[Path, dict[str, str]]]:
    """Provide a throw-away home on the scripted model."""
    with ScriptedModel() as model, Home(model.port, launcher=True) as home:
        yield home.workspace("project"), home.env
        home.close()
        if left := home.leftovers():
            raise SystemExit(f"left running: {left}")


@contextmanager
def live() -> Iterator[tuple[Path, dict[str, str]]]:
    """Use the user's own home, with a separate tmux server; only the demo's own sessions are ended."""
    with ExitStack() as stack:
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp")))
        project = private / "project"
        project.mkdir()
        own = [str(agent_bin(name)) for name in ("claude", "codex") if shutil.which(name) is None]
        # A folder of its own is nothing that anybody has to be asked about.
        env = {**os.environ, "TMUX_TMPDIR": str(private), "CLAUDE_CODE_SANDBOXED": "1"}
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"], *own])
        env.pop("TMUX", None)
        try:
            yield project, env
        finally:
            end_sessions_in(project, env)


def end_sessions_in(project: Path, env: Mapping[str, str]) -> None:
    """End the sessions that work in a folder: those that a failed run has left."""
    argv = [sys.executable, "-m", "dev_sessions"]
    listed = subprocess.run([*argv, "list", "--all", "--json"], env=env, capture_output=True, text=True, check=False)
    for record in json.loads(listed.stdout or "[]"):
        if record["path"] == str(project):
            subprocess.run([*argv, "kill", shlex.quote(record["championId"])], env=env, check=False)


def main(arguments: list[str]) -> int:
    """Run it; 0 when every command did what the README says."""
    if unknown := [argument for argument in arguments if argument != "--live"]:
        print(f"tests/demo: unknown argument {unknown[0]}; it takes --live and --no-install", file=sys.stderr)
        return 2
    with live() if arguments else scripted() as (directory, env):
        wrong = run(usage((ROOT / "README.md").read_text(encoding="utf-8")), directory, env)
    for line in wrong:
        print(f"demo: {line}", file=sys.stderr)
    print(f"\n{'This is not what the README says.' if wrong else 'Everything did what the README says.'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
