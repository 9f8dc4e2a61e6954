"""Bad input: one clear line, and nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dev_sessions.cli.message import MAX_MESSAGE

MESSAGE_REQUIRED = "Message is required. Use <message> or --file <path>.\n"
HINT = " To send what is piped in, use --file -.\n"
TOO_LARGE = f"/dev/zero is larger than {MAX_MESSAGE} bytes; give its path in a short message instead\n"
DASH = "pass a text that starts with a dash after -- or with --file -"


def cli(
    *arguments: str | Path, home: Path, stdin: bytes | None = b"", path: str = "/nowhere"
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in an empty home, without any agent or tmux on PATH."""
    return subprocess.run(
        [sys.executable, "-m", "dev_sessions", *arguments],
        input=stdin,
        capture_output=True,
        cwd=home,
        env={"HOME": str(home), "PATH": path, "LANG": "C.UTF-8"},
        check=False,
    )


@pytest.mark.parametrize("command", ["status", "wait", "last-message", "logs", "inspect", "kill", "recover"])
def test_an_unknown_session_is_named(command: str, tmp_path: Path) -> None:
    """An unknown session gives the line that scripts look for."""
    done = cli(command, "fizz-top", home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        b"",
        b"Session not found: fizz-top (see: dev-sessions list)\n",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["send", "ask"])
def test_a_message_to_nobody_is_not_sent(command: str, tmp_path: Path) -> None:
    """A message to an unknown session leaves no trace."""
    done = cli(command, "fizz-top", "hello", home=tmp_path)
    assert (done.returncode, done.stderr) == (1, b"Session not found: fizz-top (see: dev-sessions list)\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["send", "ask"])
@pytest.mark.parametrize(
    ("arguments", "stdin", "error"),
    [
        ([], b"piped", MESSAGE_REQUIRED.removesuffix("\n") + HINT),
        (["-"], b" \n", MESSAGE_REQUIRED),
        (["-"], b"caf\xe9", "Standard input is not UTF-8 text (at byte 3); convert it first\n"),
        ([""], b"", MESSAGE_REQUIRED),
        ([" \n"], b"", MESSAGE_REQUIRED),
        (["--file", "-"], b"", MESSAGE_REQUIRED),
        (["hello", "--file", "x"], b"", "Provide either <message> or --file, not both\n"),
        (["--file", "missing"], b"", "Cannot read missing: No such file or directory; check the path\n"),
        (["--file=missing"], b"", "Cannot read missing: No such file or directory; check the path\n"),
        (["--file", "."], b"", "Cannot read .: Is a directory; check the path\n"),
        (["--file", "-"], b"caf\xe9", "Standard input is not UTF-8 text (at byte 3); convert it first\n"),
        (["--file", "/dev/zero"], b"", TOO_LARGE),
        (["-first point"], b"", f"Cannot read irst point: No such file or directory ({DASH})\n"),
    ],
)
def test_a_bad_message_is_refused(command: str, arguments: list[str], stdin: bytes, error: str, tmp_path: Path) -> None:
    """A message that can't be sent is refused in one line."""
    done = cli(command, "fizz-top", *arguments, home=tmp_path, stdin=stdin)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (1, "", error)


@pytest.mark.parametrize("arguments", [["run", "--worktre=x", "hi"], ["ask", "fizz-top", "--timeou", "5", "hi"]])
def test_a_mistyped_option_beside_a_message_is_named(arguments: list[str], tmp_path: Path) -> None:
    """A command that takes a message suggests the option that was meant, as every other command does."""
    done = cli(*arguments, home=tmp_path)
    mistyped, meant = ("--worktre", "--worktree") if arguments[0] == "run" else ("--timeou", "--timeout")
    error = f"No such option: {mistyped}; did you mean {meant}? ({DASH}) (see dev-sessions {arguments[0]} --help)\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", error)


@pytest.mark.parametrize(
    ("arguments", "stdin", "error"),
    [
        ([""], b"", "Objective is required. Use <objective> or --file <path>.\n"),
        (["--file", "-"], b" \n", "Objective is required. Use <objective> or --file <path>.\n"),
        (["-"], b" \n", "Objective is required. Use <objective> or --file <path>.\n"),
        (["work", "--file", "-"], b"hello", "Provide either <objective> or --file, not both\n"),
        (["--file", "missing"], b"", "Cannot read missing: No such file or directory; check the path\n"),
        (["--file", "-"], b"caf\xe9", "Standard input is not UTF-8 text (at byte 3); convert it first\n"),
    ],
)
def test_a_bad_objective_is_refused(arguments: list[str], stdin: bytes, error: str, tmp_path: Path) -> None:
    """An objective that is empty, given twice or unreadable is refused in one line."""
    done = cli("goal", "fizz-top", *arguments, home=tmp_path, stdin=stdin)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (1, "", error)


@pytest.mark.parametrize("arguments", [[], ["work"], ["--pause"], ["--resume"], ["--clear"], ["--budget", "5"]])
def test_a_goal_of_nobody_is_an_error(arguments: list[str], tmp_path: Path) -> None:
    """A goal for an unknown session is an error that names it, and leaves no trace."""
    done = cli("goal", "fizz-top", *arguments, home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        b"",
        b"Session not found: fizz-top (see: dev-sessions list)\n",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["goal", "fizz-top"], "Goals"),
        (["goal", "fizz-top", "work"], "Goals"),
        (["goal", "fizz-top", "--pause"], "Goals"),
        (["goal", "fizz-top", "--clear"], "Goals"),
        (["wait", "fizz-top", "--goal"], "Goals"),
        (["wait", "fizz-top", "--next-turn"], "--next-turn waits"),
    ],
)
def test_what_only_codex_can_do_is_refused_for_claude(arguments: list[str], what: str, tmp_path: Path) -> None:
    """Commands that only Codex supports are refused for a Claude session with an error that says so."""
    store = tmp_path / ".dev-sessions" / "sessions.json"
    store.parent.mkdir(mode=0o700)
    record = {
        "championId": "fizz-top",
        "internalId": "0a1b",
        "cli": "claude",
        "mode": "native",
        "path": str(tmp_path),
        "status": "active",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastUsed": "2026-01-01T00:00:00.000Z",
    }
    store.write_text(json.dumps({"version": 1, "sessions": [record]}))
    done = cli(*arguments, home=tmp_path)
    error = f"{what} are only supported for codex sessions; fizz-top is a claude session\n"
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (1, "", error)


def test_a_message_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 text are refused in the arguments, too."""
    done = subprocess.run(
        [sys.executable, "-m", "dev_sessions", "send", "fizz-top", b"caf\xe9"],
        capture_output=True,
        env={"HOME": str(tmp_path), "PATH": "/nowhere", "LANG": "C.UTF-8"},
        check=False,
    )
    assert done.returncode == 1
    assert b"not UTF-8 text (at character 3)" in done.stderr


def test_an_id_that_is_no_text_is_refused_in_a_container(tmp_path: Path) -> None:
    """A container asks its gateway for no session whose id is not UTF-8."""
    done = subprocess.run(
        [sys.executable, "-m", "dev_sessions", "status", b"caf\xe9"],
        capture_output=True,
        env={"HOME": str(tmp_path), "DEV_SESSIONS_SANDBOX": "1", "DEV_SESSIONS_GATEWAY_URL": "http://127.0.0.1:1"},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert done.stderr.endswith(b" is not UTF-8 text; correct it\n")


def test_a_closed_standard_input_is_reported(tmp_path: Path) -> None:
    """A script that has closed its standard input gets an error that says so."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -m dev_sessions send fizz-top --file - <&-'],
        capture_output=True,
        env={"HOME": str(tmp_path), "PATH": "/nowhere"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"Standard input is closed, so there is no message to read from it; use --file PATH\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["wait", "a", "--timeout", "0"], "'0' is not a positive time such as 90, 90s, 5m or 2h"),
        (["wait", "a", "--timeout", "-1"], "'-1' is not a positive time"),
        (["wait", "a", "--timeout", "nan"], "'nan' is not a positive time"),
        (["ask", "a", "b", "--timeout", "soon"], "'soon' is not a positive time"),
        (["interrupt", "a", "--timeout", "0m"], "'0m' is not a positive time"),
        (["wait", "a", "--interval", "0"], "'0' is not a positive time such as 90, 90s, 5m or 2h"),
        (["last-message", "a", "-n", "0"], "0 is not in the range x>=1"),
        (["kill", "--older-than", "3 weeks"], "'3 weeks' is not a duration such as 30m, 72h or 7d"),
        (["kill", "--older-than", "9" * 400 + "d"], "is not a duration such as 30m, 72h or 7d"),
        (["respond", "a"], "Use either answers, --allow, --deny or --cancel"),
        (["respond", "a", "--deny", "--allow"], "Use either answers, --allow, --deny or --cancel"),
        (["respond", "a", "--allow", "1"], "Use either answers, --allow, --deny or --cancel"),
        (["kill"], "Use either ids, --all, --mine or --older-than"),
        (["kill", "a", "--all"], "Use either ids, --all, --mine or --older-than"),
        (["recover", "--yes"], "--yes needs an id, --all or --prune"),
        (["recover", "a", "--all"], "Use either ids or --all"),
        (["recover", "a", "--prune"], "--prune cannot be combined with an id or --all"),
        (["recover", "--all", "--prune"], "--prune cannot be combined with an id or --all"),
        (["send"], "Missing argument 'ID'"),
        (["send", "a", "-x"], DASH),
        (["ask", "a", "--help me"], DASH),
        (["goal", "a", "-x"], DASH),
        (["goal", "a", "--soon", "as possible"], DASH),
        (["goal", "a", "--budget", "0"], "0 is not in the range x>=1"),
        (["goal", "a", "--budget", "much"], "'much' is not a valid integer"),
        (["goal", "a", "--pause", "--resume"], "Use only one of --pause, --resume and --clear"),
        (["goal", "a", "--clear", "--budget", "5"], "Use only one of --clear and --budget"),
        (["goal", "a", "--pause", "work"], "An objective cannot be combined with --pause, --resume and --clear"),
        (["goal", "a", "--clear", "--file", "-"], "An objective cannot be combined with --pause, --resume and --clear"),
        (["wait", "a", "--goal", "--next-turn"], "Use only one of --goal and --next-turn"),
        (["create", "--cli", "gemini"], "'gemini' is not one of 'claude', 'codex'"),
        (["wiat", "a"], "No such command 'wiat'; did you mean wait?"),
        (["creat"], "No such command 'creat'; did you mean create?"),
        (["delete", "a"], "No such command 'delete'; did you mean kill?"),
        (["ls"], "No such command 'ls'; did you mean list?"),
        (["frobnicate"], "No such command 'frobnicate' (see dev-sessions --help)"),
        (["create", "--mode", "docker", "--cli", "codex"], "Codex has no docker mode"),
        (["completion"], "Choose from: bash, zsh, fish"),
        (["status", "a", "b"], "Got unexpected extra argument (b)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_usage_errors_are_one_line_and_exit_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    """An invalid command line is an error of one line that says why."""
    done = cli(*arguments, home=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert not done.stderr.startswith(b"Error")


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_a_missing_program_is_named_and_nothing_is_left(agent: str, tmp_path: Path) -> None:
    """Without the programs there is no session, and no record of one."""
    done = cli("create", "--cli", agent, home=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    missing = "tmux" if agent == "claude" else "codex"
    assert f"{missing} was not found on PATH; install it with".encode() in done.stderr
    assert cli("list", "--all", "--json", home=tmp_path).stdout == b"[]\n"


def test_docker_mode_says_what_it_needs(tmp_path: Path) -> None:
    """Without the wrapper, docker mode says what the wrapper is."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "tmux").symlink_to("/usr/bin/true")
    done = cli("create", "--mode", "docker", home=tmp_path, path=str(bin_dir))
    assert done.returncode == 1
    assert b"clauded was not found on PATH; docker mode needs a wrapper of this name" in done.stderr


def test_a_bad_workspace_is_named(tmp_path: Path) -> None:
    """A workspace that is not an existing directory is refused by name."""
    (tmp_path / "file").touch()
    done = cli("create", "--path", "none", home=tmp_path)
    assert (done.returncode, done.stderr.decode()) == (1, f"Workspace path does not exist: {tmp_path}/none\n")
    done = cli("create", "--path", tmp_path / "file", home=tmp_path)
    assert (done.returncode, done.stderr.decode()) == (1, f"Workspace path is not a directory: {tmp_path}/file\n")


def test_a_bad_id_is_refused(tmp_path: Path) -> None:
    """An id with anything but lower-case letters, digits and dashes is refused."""
    done = cli("create", "--id", "Fizz Top", home=tmp_path)
    assert done.returncode == 1
    assert b"'Fizz Top' is not a valid session id" in done.stderr


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    """A store that can't be read is an error that names it."""
    store = tmp_path / ".dev-sessions" / "sessions.json"
    store.parent.mkdir()
    store.write_text("{")
    done = cli("list", home=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert str(store).encode() in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert store.read_text() == "{"


def test_nobody_is_home_without_sessions(tmp_path: Path) -> None:
    """A new user without sessions gets an answer, not an error."""
    assert cli("list", home=tmp_path).stdout == b"No active sessions\n"
    assert cli("list", "--json", home=tmp_path).stdout == b"[]\n"
    assert cli("kill", "--all", home=tmp_path).stdout == b"No matching sessions to kill\n"
    assert cli("recover", home=tmp_path).stdout == b"No lost sessions\n"
    assert cli("recover", "--all", "--yes", "--json", home=tmp_path).stdout == b"[]\n"
    assert cli("recover", "--prune", "--yes", home=tmp_path).stdout == b"No sessions to delete\n"
    assert cli("--version", home=tmp_path).stdout == b"0.5.0\n"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """`dev-sessions list | head -1` ends quietly."""
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            f'"{sys.executable}" -m dev_sessions --help | true; "{sys.executable}" -m dev_sessions list >&-',
        ],
        capture_output=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["create", "create --path x", "doctor", "gateway --socket x", "install-skill --local"]
)
def test_a_folder_that_was_removed_is_named(command: str, tmp_path: Path) -> None:
    """In a folder that no longer exists, a command that needs one says so in one line."""
    (tmp_path / ".claude").mkdir()
    folder = tmp_path / "removed"
    folder.mkdir()
    script = f'cd "{folder}" && rmdir "{folder}" && exec "{sys.executable}" -m dev_sessions {command}'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, env={"HOME": str(tmp_path)}, check=False)
    error = b"The current folder no longer exists; change to another one\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", error)


@pytest.mark.parametrize("name", ["CLAUDE_CONFIG_DIR", "CODEX_HOME"])
def test_a_home_of_a_user_that_does_not_exist_is_a_folder_of_that_name(name: str, tmp_path: Path) -> None:
    """A tilde that stands for nobody's home is a name like any other."""
    done = subprocess.run(
        [sys.executable, "-m", "dev_sessions", "install-skill"],
        capture_output=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), name: "~nobody-at-all"},
        check=False,
    )
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("token", ["a\rb", "a\nb", "a\r\nX: y", "caf\u00e9", "\U0001f469", "x" * 5000, " "])
def test_a_token_that_no_header_can_hold_is_refused(token: str, tmp_path: Path) -> None:
    """A token with line breaks, or characters that HTTP does not know, is one clear error."""
    done = subprocess.run(
        [sys.executable, "-m", "dev_sessions", "list"],
        capture_output=True,
        env={
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
            "DEV_SESSIONS_SANDBOX": "1",
            "DEV_SESSIONS_GATEWAY_URL": "http://127.0.0.1:1",
            "DEV_SESSIONS_GATEWAY_TOKEN": token,
        },
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == (b"DEV_SESSIONS_GATEWAY_TOKEN holds no token: set it to the word that the gateway requires\n")


def test_in_a_container_nothing_runs_here_by_accident(tmp_path: Path) -> None:
    """A container whose sessions live on the host does not start them in itself."""
    done = subprocess.run(
        [sys.executable, "-m", "dev_sessions", "list"],
        capture_output=True,
        env={"HOME": str(tmp_path), "PATH": "/nowhere", "DEV_SESSIONS_SANDBOX": "1"},
        check=False,
    )
    assert done.returncode == 1
    assert b"gateway" in done.stderr
