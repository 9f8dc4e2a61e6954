"""Complete arguments for a shell: session ids, folders and files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dev_sessions.cli.output import escape_controls
from dev_sessions.errors import DevSessionsError
from dev_sessions.system import paths

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Seconds for a gateway to list the sessions of its host, while a person waits for the completion.
_GATEWAY_TIMEOUT = 0.5


def session_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete session ids from the store, with their descriptions; nothing if they can't be listed at once."""
    from click.shell_completion import CompletionItem

    from dev_sessions.sessions.champion_ids import is_valid

    given = ctx.params.get(param.name or "") or ()
    try:
        sessions = list(_on_host() if paths.uses_gateway() else _in_store())
    except (DevSessionsError, OSError):
        return []
    return [
        CompletionItem(session_id, help=escape_controls(" ".join(description.split())))
        for session_id, description in sessions
        # The shell inserts it into a command line, where any other character could be interpreted.
        if session_id.startswith(incomplete) and session_id not in given and is_valid(session_id)
    ]


def folders(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Use the shell's own completion of folders. click.Path would also refuse a file, with an error of its own."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a file, by the shell itself. (click's type `Path` takes 1 ms to translate its own name.)"""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _in_store() -> Iterator[tuple[str, str]]:
    from dev_sessions.sessions.store import Store

    for session in Store(paths.store_file()).read().sessions.values():
        yield session.id, session.description or f"{session.cli} in {session.path}"


def _on_host() -> Iterator[tuple[str, str]]:
    from dev_sessions.gateway.connection import get
    from dev_sessions.gateway.tokens import container_token

    _, body = get(paths.gateway_url(), "/list", container_token(), _GATEWAY_TIMEOUT)
    rows = (body or {}).get("sessions")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("championId"), str):
            yield row["championId"], str(row.get("description") or f"{row.get('cli')} in {row.get('path')}")
