"""Run the tests with the real agents on every supported version, and print a table of the results.

The newest Claude Code has a second column, in which its telemetry and other traffic are on, as most users have it.

`python -m tests.support.versions [pytest arguments]` installs those versions and runs each agent's tests on each of
them. A `-k` among the arguments replaces the choice of an agent's own cases.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias
from xml.etree import ElementTree

from dev_sessions.cli.render import table
from tests.support.agents import ROOT, install

VERSIONS = {
    "codex": ("0.150.0", "0.169.0", "0.171.0"),
    "claude": ("2.1.250", "2.1.300", "2.1.332"),
}
#: The files with tests of both agents.
SHARED = ("flow", "recover", "orphans", "skills")
#: The column in which the traffic is on.
TRAFFIC = "with traffic"
#: The run of a version that ended before its tests did, as a case.
THE_RUN = "the run itself"
#: What pytest exits with when tests passed, failed, and when none were chosen.
_RAN = (0, 1, 5)

Verdict: TypeAlias = Literal["ok", "FAIL", "skipped"]


def main(arguments: list[str]) -> int:
    """Run everything, with pytest's output as it comes, and print the table last. 1 when anything failed."""
    # A job in the background of a script ignores SIGINT, and so would every command that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for agent, versions in VERSIONS.items():
        for version in versions:
            install(agent, version)
    columns = {
        f"{agent} {version}": run(agent, version, arguments)
        for agent, versions in VERSIONS.items()
        for version in versions
    }
    for newest in VERSIONS.get("claude", ())[-1:]:
        columns[f"claude {newest} {TRAFFIC}"] = run("claude", newest, arguments, traffic=True)
    print(report(columns))
    return int(any("FAIL" in column.values() for column in columns.values()))


def run(agent: str, version: str, arguments: Iterable[str], *, traffic: bool = False) -> dict[str, Verdict]:
    """Return the verdict on each case of an agent, tested in one version, with or without its traffic."""
    print(f"\n== {agent} {version}{f' {TRAFFIC}' if traffic else ''}", flush=True)
    files = [
        *(Path(f"tests/real/test_{name}.py") for name in SHARED),
        *sorted(ROOT.glob(f"tests/real/test_{agent}*.py")),
    ]
    env = {f"DEV_SESSIONS_TEST_{agent.upper()}": version, "DEV_SESSIONS_TEST_TELEMETRY": str(int(traffic))}
    return outcome(["-k", agent, *map(str, files), *arguments], env)


def outcome(
    arguments: Iterable[str],
    env: Mapping[str, str],
    *,
    python: str | Path = sys.executable,
    prefix: Iterable[str] = (),
) -> dict[str, Verdict]:
    """Return the verdict on each case that pytest runs with these arguments and this addition to the environment.

    `prefix` is the command line of a program that runs another one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.xml"
        # With the marker `matrix`, which the ordinary suite leaves out.
        command = [*prefix, python, "-m", "pytest", "-q", "-m", "not soak", f"--junitxml={results}", *arguments]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=False)
        found = verdicts(results.read_text(encoding="utf-8")) if results.exists() else {}
    return found if done.returncode in _RAN else {**found, THE_RUN: "FAIL"}


def verdicts(junit: str) -> dict[str, Verdict]:
    """Return the verdict on each case, from pytest's report in JUnit's format."""
    found: dict[str, Verdict] = {}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        name = _readable(case.get("classname", ""), case.get("name", ""))
        kinds = {child.tag for child in case}
        verdict: Verdict = "FAIL" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "ok"
        # A case stands there twice when its clean-up failed, too.
        found[name] = "FAIL" if found.get(name) == "FAIL" else verdict
    return found


def report(columns: Mapping[str, Mapping[str, Verdict]]) -> str:
    """Return the table, a row for each case and a column for each version, and a summary line."""
    cases = list(dict.fromkeys(case for column in columns.values() for case in column))
    rows = [(case, *(column.get(case, "") for column in columns.values())) for case in cases]
    cells = [cell for _, *row in rows for cell in row]
    counts = ", ".join(f"{cells.count(verdict)} {verdict}" for verdict in ("ok", "FAIL", "skipped"))
    return f"{table([('CASE', *columns), *rows])}\n\n{len(columns)} versions, {len(cases)} cases: {counts}"


def _readable(module: str, name: str) -> str:
    """Return a readable name: `flow: the main job` for test_the_main_job[codex] in tests.real.test_flow."""
    file = module.rpartition(".")[2].removeprefix("test_").replace("_", " ")
    words, _, parameters = name.removeprefix("test_").partition("[")
    # Cases that both agents have are one row.
    chosen = [part for part in parameters.removesuffix("]").split("-") if part not in VERSIONS]
    return f"{file}: {words.replace('_', ' ')}" + (f" [{'-'.join(chosen)}]" if any(chosen) else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
