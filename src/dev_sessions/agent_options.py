"""The agent's own options that `create … -- ARGS` passes on: which ones may be given, and Codex's as configuration.

Claude Code gets them on its command line. A session of Codex is a thread of an app-server, so only the options of
Codex's command line that are configuration can be given, and become the `config` of the thread::

    -c model_reasoning_effort=high   {"model_reasoning_effort": "high"}
    --enable goals                   {"features.goals": true}
    --profile deep                   the contents of $CODEX_HOME/deep.config.toml

Pure, except for reading a profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Cli, JsonObject
from dev_sessions.system.foreign_files import read_regular

_SETS = "dev-sessions sets it"
_PROMPT = "send messages with: dev-sessions send"
_NO_TERMINAL = "a session runs in a terminal on its machine"
#: Options of Claude Code that a session cannot have, and why or what to use instead (2.1.250 to 2.1.332).
_REFUSED_BY_CLAUDE: Mapping[str, str] = {
    **dict.fromkeys(("--session-id", "--name", "-n", "--dangerously-skip-permissions"), _SETS),
    **dict.fromkeys(("--resume", "-r", "--continue", "-c", "--fork-session"), "use dev-sessions fork or recover"),
    **dict.fromkeys(("--from-pr", "--teleport"), "a session starts with a conversation of its own"),
    **dict.fromkeys(("--cloud", "--environment", "--desktop"), _NO_TERMINAL),
    **dict.fromkeys(("--worktree", "-w", "--tmux"), "use --worktree of dev-sessions create"),
    "--model": "use --model of dev-sessions create",
    **dict.fromkeys(("--print", "-p"), _PROMPT),
    **dict.fromkeys(("--background", "--bg", "--no-session-persistence"), _NO_TERMINAL),
    **dict.fromkeys(("--help", "-h", "--version", "-v"), "it ends at once"),
}
#: Options of Claude Code without a value, and with exactly one (2.1.332): what follows would be a prompt. Any other may
#: have several values, or none.
_FLAGS_OF_CLAUDE = frozenset(
    "--allow-dangerously-skip-permissions --ax-screen-reader --bare --brief --chrome --no-chrome --ide"
    " --disable-slash-commands --exclude-dynamic-system-prompt-sections --restricted --safe-mode --strict-mcp-config"
    " --verbose".split()
)
_WITH_ONE_VALUE = frozenset(
    "--agent --agents --append-system-prompt --append-system-prompt-file --autocompact --debug-file --effort"
    " --fallback-model --permission-mode --plugin-dir --plugin-url --setting-sources --settings --system-prompt"
    " --system-prompt-file --system-prompt-snapshot".split()
)
#: Short options that take a value, which may follow without a space.
_CODEX_SHORT = {"-c": "--config", "-p": "--profile"}
_CODEX_OPTIONS = ("--config", "--profile", "--enable", "--disable")
#: Other options of Codex that have an option of dev-sessions, or that dev-sessions sets itself.
_REFUSED_BY_CODEX: Mapping[str, str] = {
    **dict.fromkeys(("--model", "-m"), "use --model of dev-sessions create"),
    **dict.fromkeys(("--cd", "-C"), "use --path of dev-sessions create"),
    "--worktree": "use --worktree of dev-sessions create",
    **dict.fromkeys(("--sandbox", "-s", "--ask-for-approval", "-a", "--full-auto"), _SETS),
    **dict.fromkeys(("--dangerously-bypass-approvals-and-sandbox", "--yolo"), _SETS),
}
#: Keys of Codex's configuration that dev-sessions sets itself, or that its own options set.
_REFUSED_KEYS: Mapping[str, str] = {
    "model": "use --model of dev-sessions create",
    **dict.fromkeys(("approval_policy", "sandbox_mode"), _SETS),
    "profile": "use --profile",
}


def require_allowed(cli: Cli, args: Sequence[str]) -> None:
    """Raise InvalidRequest, which names the option, if an agent cannot be given these arguments."""
    if cli == "codex":
        for key, _ in _settings(args, lambda _: {}):
            if reason := _REFUSED_KEYS.get(key):
                raise InvalidRequest(f"The option -c {key} of codex cannot be given: {reason}")
        return
    takes_more = False
    words = iter(args)
    for word in words:
        name, equals, _ = word.partition("=")
        if word == "--":
            raise InvalidRequest(f"No prompt can be given after the options of claude; {_PROMPT}")
        if not word.startswith("-"):
            if not takes_more:
                raise InvalidRequest(f"{word!r} is not an option of claude; {_PROMPT}")
            continue
        takes_more = name not in _FLAGS_OF_CLAUDE | _WITH_ONE_VALUE
        if name in _WITH_ONE_VALUE and not equals:
            next(words, None)
            continue
        reason = _REFUSED_BY_CLAUDE.get(name)
        if reason is None and not word.startswith("--"):
            name = word[:2]  # with its value in the same word
            reason = _REFUSED_BY_CLAUDE.get(name)
        if reason is not None:
            raise InvalidRequest(f"The option {name} of claude cannot be given: {reason}")


def names_option(args: Sequence[str], name: str) -> bool:
    """Return whether an option is among the arguments."""
    return any(word == name or word.startswith(f"{name}=") for word in args)


def codex_config(args: Sequence[str], codex_home: Path) -> JsonObject:
    """Return the configuration that Codex's arguments stand for, as nested objects. Raises InvalidRequest."""
    config: JsonObject = {}
    for key, value in _settings(args, lambda name: _profile(codex_home, name)):
        _merge(config, _nested(key, value))
    return config


def merged(config: Mapping[str, Any], over: Mapping[str, Any]) -> JsonObject:
    """Return a configuration with another one laid over it, table by table."""
    result: JsonObject = {}
    _merge(result, config)
    _merge(result, over)
    return result


def _settings(args: Sequence[str], profile: Callable[[str], JsonObject]) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values that arguments set: those of a profile first, because Codex lays others over it."""
    overrides: list[tuple[str, Any]] = []
    words = iter(args)
    for word in words:
        name, value = _option(word)
        if value is None and (value := next(words, None)) is None:
            raise InvalidRequest(f"The option {word} of codex needs a value; give it, or leave the option out")
        if name == "--profile":
            yield from profile(value).items()
        elif name == "--config":
            key, equals, text = value.partition("=")
            if not equals or not key.strip():
                raise InvalidRequest(f"The option {word} of codex needs key=value, not {value!r}; see: codex --help")
            overrides.append((key.strip(), _toml_value(text)))
        else:
            overrides.append((f"features.{value}", name == "--enable"))
    yield from overrides


def _option(word: str) -> tuple[str, str | None]:
    """Return the name of an option of Codex, and its value if that is in the same word. Raises InvalidRequest."""
    name, equals, value = word.partition("=")
    name = _CODEX_SHORT.get(name, name)
    if name in _CODEX_OPTIONS:
        return name, value if equals else None
    if word[:2] in _CODEX_SHORT:
        return _CODEX_SHORT[word[:2]], word[2:]
    if reason := _REFUSED_BY_CODEX.get(name):
        raise InvalidRequest(f"The option {name} of codex cannot be given: {reason}")
    known = "-c key=value, --profile NAME, --enable FEATURE and --disable FEATURE"
    if not word.startswith("-"):
        raise InvalidRequest(f"{word!r} is not an option of codex; a session takes {known}; {_PROMPT}")
    raise InvalidRequest(f"A session of codex takes {known}, and no {name}; leave it out")


def _toml_value(text: str) -> Any:
    """Parse a value as Codex does: TOML, or else the text itself, without quotes around it."""
    import tomllib

    try:
        value = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip().strip("\"'")
    if list(value) != ["value"] or not _is_json(value["value"]):
        return text.strip()
    return value["value"]


def _profile(codex_home: Path, name: str) -> JsonObject:
    import tomllib

    file = codex_home / f"{name}.config.toml"
    if name in ("", ".", "..") or "/" in name:
        raise InvalidRequest(f"{name!r} is not a profile of codex; give the NAME of a {codex_home}/NAME.config.toml")
    try:
        settings = tomllib.loads(read_regular(file).decode())
    except OSError as error:
        raise InvalidRequest(
            f"Cannot read the profile {name} of codex, {file}: {error.strerror}; create it, or name another"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The profile {name} of codex, {file}, is not valid TOML: {error}; correct it") from error
    if not _is_json(settings):
        raise InvalidRequest(
            f"The profile {name} of codex, {file}, holds a date, which its app-server does not take; remove it"
        )
    return settings


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return isinstance(value, str | int | float | bool)


def _nested(key: str, value: object) -> JsonObject:
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def _merge(into: JsonObject, other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping):
            table = into.get(key)
            into[key] = merged(table if isinstance(table, dict) else {}, value)
        else:
            into[key] = value
