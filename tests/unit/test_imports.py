"""What is loaded when."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dev_sessions

SOURCE = Path(dev_sessions.__file__).parent
HEAVY = {"websockets", "asyncio", "http", "filelock", "subprocess", "pydantic"}

#: Of each command line, the heavy modules that it may load on a machine without sessions.
ALLOWED: list[tuple[list[str], set[str]]] = [
    (["--version"], set()),
    (["--help"], set()),
    (["status", "fizz-top"], set()),
    (["last-message", "fizz-top"], set()),
    (["logs", "fizz-top"], set()),
    (["inspect", "fizz-top"], set()),
    (["wait", "fizz-top"], set()),
    (["wait", "fizz-top", "--goal"], set()),
    (["goal", "fizz-top"], set()),
    (["goal", "fizz-top", "work"], set()),
    (["list"], set()),
    (["recover"], set()),
    (["recover", "fizz-top"], set()),
    (["recover", "--prune", "--yes"], set()),
    (["send", "fizz-top", "hello"], set()),
    (["gateway", "status"], {"http", "subprocess"}),
    (["install-skill"], set()),
    (["doctor", "--help"], set()),
]


@pytest.mark.parametrize(
    ("arguments", "allowed"), ALLOWED, ids=lambda value: " ".join(sorted(value) if isinstance(value, set) else value)
)
def test_a_command_loads_only_what_it_uses(arguments: list[str], allowed: set[str], tmp_path: Path) -> None:
    """A command that only reads pays for no lock, no network and no subprocess."""
    code = (
        "import sys\nfrom dev_sessions.cli import main\n"
        "try: main()\nfinally: print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path)},
        check=False,
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "click" in loaded
    assert loaded & HEAVY <= allowed


def imports_of(path: Path) -> set[str]:
    """The modules of ours that a file imports at run time, wherever in it."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dev_sessions"):
            found |= {f"{node.module}.{name.name}" for name in node.names} | {str(node.module)}
    return found & set(modules())


def modules() -> dict[str, Path]:
    """Every module of the package."""
    return {
        ".".join(("dev_sessions", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }


def test_no_import_goes_in_a_circle() -> None:
    """The modules stand in layers."""
    graph = {name: imports_of(path) - {name, "dev_sessions"} for name, path in modules().items()}
    while leaves := {name for name, needs in graph.items() if not needs & graph.keys()}:
        for name in leaves:
            del graph[name]
    assert graph == {}


def test_the_foundations_import_nothing_of_ours() -> None:
    """Errors, models, paths and deadlines can be used anywhere."""
    for name in ("dataclass", "errors", "models", "paths", "deadline", "champion_ids"):
        assert imports_of(SOURCE / f"{name}.py") <= {"dev_sessions.dataclass"}, name


@pytest.mark.parametrize(
    "name",
    [
        "champion_ids",
        "claude/transcript",
        "claude/turn",
        "claude/message",
        "answers",
        "claude/screen",
        "cli/render",
        "codex/jsonrpc",
        "codex/protocol",
        "codex/turns",
        "codex/goals",
        "codex/requests",
        "codex/rollout",
        "gateway/guard",
        "gateway/replies",
        "gateway/wire",
        "gateway/units",
    ],
)
def test_pure_modules_do_nothing(name: str) -> None:
    """Parsers get the outside world as arguments."""
    tree = ast.parse((SOURCE / f"{name}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"os", "time", "socket", "subprocess", "pathlib", "sys", "threading"}
