"""The command lines that start Claude Code: in a session, and by a person."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from dev_sessions.agent_options import names_option
from dev_sessions.models import ClaudeSession
from dev_sessions.system.programs import find_program


def command_line(session: ClaudeSession, conversation_options: Sequence[str]) -> list[str]:
    """Return the command line of a session's Claude; `conversation_options` name its conversation."""
    args = session.agent_args or ()
    model = ["--model", session.model] if session.model else []
    options = [*conversation_options, "--name", session.display_name, *model, *args]
    if session.mode == "docker":
        return [find_program("clauded"), *options]
    return [find_program("claude"), *_permissions(args), *options]


def _permissions(args: Sequence[str]) -> list[str]:
    """Return the option that switches permissions off. It would override a permission mode (2.1.250 to 2.1.332)."""
    return [] if names_option(args, "--permission-mode") else ["--dangerously-skip-permissions"]


def manual_start_command(args: Sequence[str] = ()) -> str:
    """Return the command with which a person starts Claude as a session with these options does.

    They decide what it asks: without permissions, it does not ask about the servers of `.mcp.json` (2.1.332). As root
    it needs a variable.
    """
    command = shlex.join(["claude", *_permissions(args), *args])
    return f"IS_SANDBOX=1 {command}" if os.geteuid() == 0 else command
