"""The skills that teach an agent to use this program, and where the agents look for them.

Measured on Claude Code 2.1.330 and on Codex 0.150 and 0.169: both read
`skills/NAME/SKILL.md` in their configuration folder (CLAUDE_CONFIG_DIR, CODEX_HOME), and in `.claude` and `.codex` of
the current folder and those above it, up to the repository's. Both take any further key in the front matter, so the
skills carry a line by which a later version knows them as ours.
"""

from __future__ import annotations

import importlib.resources
import re
from importlib.resources.abc import Traversable
from pathlib import Path

from dev_sessions.errors import SkillNotInstalled
from dev_sessions.models import Cli
from dev_sessions.system import paths
from dev_sessions.system.private_files import replace_file

FILE = "SKILL.md"
_FRONT_MATTER = re.compile(rb"---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_OURS = re.compile(rb"^\s+generator: dev-sessions\s*$", re.MULTILINE)


def shipped() -> dict[str, bytes]:
    """The skills of this version: the text of each by its name."""
    return {folder.name: (folder / FILE).read_bytes() for folder in sorted(_source().iterdir(), key=lambda f: f.name)}


def directory(agent: Cli, *, local: bool) -> Path:
    """Where an agent looks for the skills of its user, or with `local` for those of the current folder."""
    if local:
        # Codex lists a skill twice that is both here and in the user's folder.
        return Path.cwd() / f".{agent}" / "skills"
    return (paths.claude_config_dir() if agent == "claude" else paths.codex_home()) / "skills"


def install(name: str, text: bytes, directory: Path) -> Path:
    """Write one skill below `directory`, whole or not at all, and give the path of its file.

    What stands there is replaced when it is ours. SkillNotInstalled: it is not, or the place cannot be written.
    """
    file = directory / name / FILE
    # The agent's own folder may be new, but a home or a project that is not there is a mistake.
    above = directory.parent.parent
    if not above.is_dir():
        raise SkillNotInstalled(name, f"{above} does not exist; make it first, or set another place")
    try:
        if file.exists() and file.read_bytes() == text:
            return file
        if file.parent.is_symlink() or file.is_symlink():
            raise SkillNotInstalled(name, f"{file} is reached by a link; remove the link to have a copy there")
        if file.exists() and not is_ours(file.read_bytes()):
            raise SkillNotInstalled(name, f"{file} is not from dev-sessions; move it away to have ours")
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, text, mode=0o666)
    except OSError as error:
        raise SkillNotInstalled(name, f"cannot write {file} ({error.strerror}); mend that, then try again") from error
    return file


def is_ours(text: bytes) -> bool:
    """Whether a skill says that this program wrote it."""
    front_matter = _FRONT_MATTER.match(text)
    return front_matter is not None and _OURS.search(front_matter[1]) is not None


def _source() -> Traversable:
    """The skills beside the code in a wheel, or else at the top of the checkout."""
    packaged = importlib.resources.files("dev_sessions") / "_skills"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "skills"
