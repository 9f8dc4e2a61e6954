"""What a shell offers for an argument that somebody types: session ids, files, folders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dev_sessions import paths
from dev_sessions.cli.surroundings import harmless
from dev_sessions.errors import DevSessionsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Seconds for a gateway to name the sessions of its host, while somebody waits at the keyboard.
_GATEWAY_PATIENCE = 0.5


def session_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ids that are on file, each with what it is for; none when that can't be told at once."""
    from click.shell_completion import CompletionItem

    from dev_sessions.champion_ids import is_valid

    given = ctx.params.get(param.name or "") or ()
    try:
        found = list(_of_the_host() if paths.in_sandbox() else _on_file())
    except (DevSessionsError, OSError):
        return []
    return [
        CompletionItem(session_id, help=harmless(" ".join(what.split())))
        for session_id, what in found
        # The shell puts it into a command line: what is no id of ours may be anything there.
        if session_id.startswith(incomplete) and session_id not in given and is_valid(session_id)
    ]


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell's own completion of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def folders(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell's own completion of folders."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def _on_file() -> Iterator[tuple[str, str]]:
    from dev_sessions.store import Store

    for session in Store(paths.store_file()).read().sessions.values():
        yield session.id, session.description or f"{session.cli} in {session.path}"


def _of_the_host() -> Iterator[tuple[str, str]]:
    from dev_sessions.gateway.connection import look
    from dev_sessions.gateway.tokens import container_token

    _, body = look(paths.gateway_url(), "/list", container_token(), _GATEWAY_PATIENCE)
    rows = (body or {}).get("sessions")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("championId"), str):
            yield row["championId"], str(row.get("description") or f"{row.get('cli')} in {row.get('path')}")
