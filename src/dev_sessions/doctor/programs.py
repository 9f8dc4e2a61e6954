"""Checks of programs: Python, tmux and the agents, with their logins and skills."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from dev_sessions import __version__
from dev_sessions.claude import preflight as claude_preflight
from dev_sessions.claude.command_line import manual_start_command
from dev_sessions.codex import preflight as codex_preflight
from dev_sessions.doctor.check import TIMEOUT, Check, one_line
from dev_sessions.errors import ProgramMissing
from dev_sessions.models import Cli
from dev_sessions.skills import FILE, directory, shipped
from dev_sessions.system import paths
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.programs import find_program, run_in_own_group
from dev_sessions.system.version import parse_version, version_text

#: The first version with `remain-on-exit failed`, which keeps the last output of an agent that was killed.
_OLDEST_TMUX = (3, 2)
_COMMAND = "dev-sessions"


#: Shells in which `-lic` runs a command with the PATH that a new terminal has.
_SHELLS = ("bash", "zsh", "fish")
#: The variables that a new terminal has before the shell's own files are read.
_LOGIN_VARIABLES = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TMPDIR")


@fast_dataclass(frozen=True)
class Program:
    """An agent's program. `path` is None if it is not installed; `problem` says why it cannot be used."""

    path: str | None
    version: tuple[int, ...] = ()
    problem: str | None = None


def find(name: str) -> Program:
    """Find an agent's program and its version."""
    try:
        path = find_program(name)
    except ProgramMissing as error:
        return Program(None, problem=str(error))
    try:
        done = run_in_own_group([path, "--version"], env=os.environ, timeout=TIMEOUT)
    except (OSError, TimeoutError, ProgramMissing) as error:
        return Program(path, problem=f"{one_line(error)}; try: {name} --version")
    version = parse_version(done.stdout)
    if not version:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return Program(
            path, problem=f"{path} --version prints no version{f': {lines[-1]}' if lines else ''}; reinstall it"
        )
    return Program(path, version)


def python() -> Iterator[Check]:
    """Check the Python that runs dev-sessions."""
    text = f"{platform.python_version()} ({sys.executable}); dev-sessions {__version__}"
    supported = sys.version_info >= (3, 11)
    yield Check("python", "ok" if supported else "broken", text if supported else f"{text}; use Python 3.11 or newer")


def command() -> Iterator[Check]:
    """Check that agents find `dev-sessions`, whose shells have the PATH of a login shell."""
    own = Path(sys.executable).with_name(_COMMAND)
    shell = os.environ.get("SHELL", "/bin/sh")
    if os.path.basename(shell) in _SHELLS:
        env = {name: os.environ[name] for name in _LOGIN_VARIABLES if name in os.environ}
        env["TERM"] = "dumb"
        try:
            printed = run_in_own_group([shell, "-lic", f"command -v {_COMMAND}"], env=env, timeout=TIMEOUT).stdout
        except (OSError, TimeoutError, ProgramMissing) as error:
            yield Check("command", "warning", f"{one_line(error)}; see what hangs in {shell} -lic true")
            return
        found = printed.strip().rpartition("\n")[2]
        where = f"a new {os.path.basename(shell)}"
    else:
        found, where = shutil.which(_COMMAND) or "", "PATH"
    if found:
        yield Check("command", "ok", found)
    else:
        text = (
            f"{where} does not find {_COMMAND}, so agents may not; install it with pipx, or add {own.parent} to PATH in"
        )
        yield Check("command", "warning", f"{text} the shell's start-up files")


def tmux(*, needed: bool) -> Iterator[Check]:
    """Check tmux, in which Claude's sessions run; it is `needed` if Claude Code is installed."""
    try:
        path = find_program("tmux")
        printed = run_in_own_group([path, "-V"], env=os.environ, timeout=TIMEOUT).stdout.strip()
    except (OSError, TimeoutError, ProgramMissing) as error:
        yield Check("tmux", "broken" if needed else "warning", f"{one_line(error)}; Claude Code runs in it")
        return
    version = parse_version(printed)
    if version and version < _OLDEST_TMUX:
        yield Check("tmux", "warning", f"{printed} ({path}) is older than 3.2, which is not tested; update it")
    else:
        yield Check("tmux", "ok", f"{printed.removeprefix('tmux ')} ({path})")


def claude(program: Program, folder: str) -> Iterator[Check]:
    """Check Claude Code, its login, and which dialogs it would show before it starts in a folder."""
    yield _usable("claude", program)
    if program.path is None:
        return
    configuration = claude_preflight.Configuration(paths.claude_config_dir(), os.environ)
    login = configuration.login()
    nothing = "nothing to log in with was found: run claude once and log in, or set ANTHROPIC_API_KEY"
    yield Check("claude login", "broken" if login is None else "ok", nothing if login is None else f"by {login}")
    if (file := claude_preflight.rebound_enter(paths.claude_config_dir())) is not None:
        text = f"Enter does not submit a message, so none can be sent: remove the binding of enter from {file}"
        yield Check("claude keys", "broken", text)
    asked = configuration.questions(folder)
    if asked:
        text = f"asks {', '.join(asked)}: run {manual_start_command()} in {folder} once and answer"
        if asked == [claude_preflight.TRUST_QUESTION]:
            text += ", or accept that with: dev-sessions create --trust"
        yield Check("claude start", "warning", text)
    else:
        yield Check("claude start", "ok", f"asks nothing in {folder}")


def codex(program: Program) -> Iterator[Check]:
    """Check Codex and its login."""
    yield _usable("codex", program)
    if program.path is None:
        return
    home = paths.codex_home()
    try:
        login = codex_preflight.login(home, os.environ)
    except ValueError as error:
        yield Check("codex login", "broken", f"{home / 'config.toml'} is not valid TOML ({one_line(error)}); fix it")
        return
    missing = "no login found; run codex login, or set the key that its provider needs"
    yield Check("codex login", "broken" if login is None else "ok", missing if login is None else f"by {login}")


def why_too_old(name: str, program: Program) -> str | None:
    """Return the error for an agent's program that is older than the oldest supported version, else None."""
    require_supported = claude_preflight.require_supported if name == "claude" else codex_preflight.require_supported
    try:
        if program.version:
            require_supported(program.version)
    except ProgramMissing as error:
        return str(error)
    return None


def _usable(name: str, program: Program) -> Check:
    """Check that an agent's program is installed, runs, and is new enough."""
    problem = program.problem or why_too_old(name, program)
    found = f"{version_text(program.version)} ({program.path})"
    return Check(name, "ok", found) if problem is None else Check(name, "broken", problem)


def skill_places(folder: Path) -> tuple[Path, ...]:
    """Return the directories in which the agents look for skills, when they work in a folder."""
    agents: tuple[Cli, ...] = ("claude", "codex")
    return (
        *(directory(agent, local=False) for agent in agents),
        paths.home() / ".agents" / "skills",
        *(folder / name / "skills" for name in (".claude", ".codex", ".agents")),
    )


def skills(folder: Path) -> Iterator[Check]:
    """Check that the agents have the skill of this version."""
    files = [file for place in skill_places(folder) if (file := place / "dev-sessions" / FILE).is_file()]
    current = shipped().get("dev-sessions")
    other = [file for file in files if file.stat().st_size != len(current or b"") or file.read_bytes() != current]
    if not files:
        yield Check("skills", "warning", "not installed; teach the agents to use this with: dev-sessions install-skill")
    elif other:
        names = ", ".join(map(str, other))
        yield Check(
            "skills", "warning", f"not of this version: {names}; dev-sessions install-skill replaces its own older ones"
        )
    else:
        yield Check("skills", "ok", ", ".join(str(file.parent) for file in files))
