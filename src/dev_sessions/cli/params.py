"""Arguments and options that several commands share: sessions, durations, --json."""

from __future__ import annotations

from typing import Any

import click

from dev_sessions.cli.completers import session_ids
from dev_sessions.operations import DEFAULT_TIMEOUT
from dev_sessions.system.deadline import duration


class Seconds(click.ParamType[float]):
    """A parameter type for a positive time: a number of seconds, or a duration such as 90s, 5m or 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            try:
                seconds = duration(value)
            except ValueError:
                seconds = 0.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a positive time such as 90, 90s, 5m or 2h", param, ctx)
        return seconds


class Duration(click.types.StringParamType):
    """A parameter type for a duration such as 30m, 72h or 7d; its value stays text."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


session_argument = click.argument("session_id", metavar="ID", shell_complete=session_ids)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
timeout_option = click.option(
    "-t",
    "--timeout",
    metavar="DURATION",
    type=Seconds(),
    default=DEFAULT_TIMEOUT,
    help=f"Exit with 124 after this time: seconds, or 90s, 5m, 2h.  [default: {DEFAULT_TIMEOUT:g}]",
)
through_limits_option = click.option(
    "--through-limits", is_flag=True, help="Wait on while the agent continues by itself after a usage limit."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
interval_option = click.option(
    "-i", "--interval", metavar="DURATION", type=Seconds(), help="Minimum time between polls."
)
