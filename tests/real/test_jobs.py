"""Sessions that a job has created: what ends them, and how doctor says so."""

from __future__ import annotations

import json

import pytest

from dev_sessions.doctor.systemd_units import service_of
from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import stored_records
from tests.support.home import Home
from tests.support.services import systemd_is_possible, user_systemd


@pytest.mark.parametrize(
    ("cgroup", "service"),
    [
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/nightly.service\n", "nightly.service"),
        ("1:name=systemd:/system.slice/build.service\n0::/\n", "build.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service\n", None),
        ("0::/system.slice/ssh.service\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_service_of_a_process_is_found(cgroup: str, service: str | None) -> None:
    """A systemd service is told from the scope of a login and from a user's manager."""
    assert service_of(cgroup) == service


@pytest.mark.skipif(not systemd_is_possible(), reason="a systemd of one's own needs root, systemd and control groups")
def test_doctor_names_the_unit_that_ends_the_servers(home: Home) -> None:
    """doctor warns of a systemd unit that will end tmux or the app-server, unless it has KillMode=process."""
    for kill_mode, units in (("control-group", 2), ("process", 0)):
        with user_systemd(home, home.path):
            job = "dev-sessions create --id one --cli codex && tmux new-session -d -s other && exec sleep 600"
            environment = (f"--setenv={name}={value}" for name, value in home.env.items())
            options = (f"--property=KillMode={kill_mode}", "--unit=nightly", "--service-type=exec", *environment)
            home.run("systemd-run", "--user", *options, "/bin/sh", "-c", job)

            def created() -> bool | None:
                with_session = (home.path / ".dev-sessions" / "sessions.json").exists() and stored_records(home)
                return True if with_session and home.tmux("has-session").returncode == 0 else None

            assert poll(created, Deadline(30), 0.1)
            checks = json.loads(home.cli("doctor", "--json").stdout)
            texts = [check["text"] for check in checks if check["name"] == "unit"]
            assert len(texts) == units
            for text in texts:
                assert "runs in the systemd unit nightly.service, which ends it" in text
                assert "KillMode=process" in text
            home.cli("kill", "--all")
            home.tmux("kill-server")
