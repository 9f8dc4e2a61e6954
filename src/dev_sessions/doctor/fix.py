"""Do what is safe about the problems that the checks find: nothing that anybody may still need is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from dev_sessions import skills
from dev_sessions.codex.app_server import AppServer
from dev_sessions.doctor import state
from dev_sessions.doctor.check import Check, one_line
from dev_sessions.doctor.programs import skill_places
from dev_sessions.errors import DevSessionsError
from dev_sessions.sessions import end
from dev_sessions.sessions.context import Context
from dev_sessions.system import paths, pid_namespace
from dev_sessions.system.foreign_files import read_regular


def fix_all(context: Context, folder: str) -> list[Check]:
    """Fix what can be fixed safely; return a check for each thing that was done or failed."""
    if paths.uses_gateway() or pid_namespace.is_sandboxed():
        return []
    fixes: tuple[Callable[[], Iterator[str]], ...] = (
        _permissions,
        lambda: _abandoned(context),
        _launch_specs,
        lambda: _servers(context),
        lambda: _skills(Path(folder)),
    )
    done = []
    for fix in fixes:
        try:
            done += [Check("fixed", "ok", text) for text in fix()]
        except (DevSessionsError, OSError) as error:
            done.append(Check("not fixed", "warning", one_line(error)))
    return done


def _permissions() -> Iterator[str]:
    folder = paths.state_dir()
    if folder.exists() and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
        yield f"nobody else may enter {folder} any more"


def _abandoned(context: Context) -> Iterator[str]:
    """End what killed creates have left: nobody has got the ids of their sessions."""
    before = context.store.read().sessions.keys()
    end.end_abandoned(context)
    for session_id in sorted(before - context.store.read().sessions.keys()):
        yield f"ended {session_id}, which a killed create had left"


def _launch_specs() -> Iterator[str]:
    for _, file, has_record in state.leftover_launch_specs():
        if not has_record:
            file.unlink(missing_ok=True)
            yield f"removed {file}, which a killed command had left"


def _servers(context: Context) -> Iterator[str]:
    """Stop the app-servers that no session uses."""
    running = [directory for directory in paths.codex_dirs() if AppServer(directory).state() is not None]
    end.release_all(context)
    for directory in running:
        if AppServer(directory).state() is None:
            yield f"stopped Codex's app-server in {directory}, which no session used"


def _skills(folder: Path) -> Iterator[str]:
    """Replace the skills of another version by those of this one."""
    for place in skill_places(folder):
        for name, text in skills.shipped().items():
            file = place / name / skills.FILE
            if file.is_file() and skills.is_generated(found := read_regular(file, skills.MAX_SIZE)) and found != text:
                yield f"updated the skill {skills.install(name, text, place)}"
