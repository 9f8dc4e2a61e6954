"""Sessions that a job has created: what ends them, and how doctor says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dev_sessions.doctor.jobs import job_of, login_of, service_of
from dev_sessions.doctor.logind import configuration, ends_processes_of
from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import create, ok, stored_records
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


def test_the_login_of_a_process_is_found() -> None:
    """The scope of a login is told from a service and from the user's own scopes."""
    slice_ = "0::/user.slice/user-1000.slice"
    assert login_of(f"{slice_}/session-3.scope\n") == "session-3.scope"
    assert login_of(f"1:name=systemd:/user.slice/user-1000.slice/session-c1.scope\n{slice_}\n") == "session-c1.scope"
    for other in (
        f"{slice_}/user@1000.service/app.slice/run-1.scope\n",
        "0::/system.slice/ssh.service\n",
        "0::/\n",
        "",
    ):
        assert login_of(other) is None


@pytest.mark.parametrize(
    ("files", "ended"),
    [
        ({}, set()),
        ({"etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=yes\n"}, set()),
        ({"etc/systemd/logind.conf": "[Sleep]\nKillUserProcesses=yes\n"}, set()),
        ({"etc/systemd/logind.conf": "[Login]\nKillUserProcesses = yes\n"}, {"alice", "bob"}),
        ({"usr/lib/systemd/logind.conf": "[Login]\nKillUserProcesses=on\n"}, {"alice", "bob"}),
        ({"usr/lib/systemd/logind.conf": "[Login]\nKillUserProcesses=1\n", "etc/systemd/logind.conf": ""}, set()),
        (
            {
                "etc/systemd/logind.conf": "[Login]\nKillUserProcesses=no\n",
                "usr/lib/systemd/logind.conf.d/50-kill.conf": "[Login]\nKillUserProcesses=yes\n",
            },
            {"alice", "bob"},
        ),
        (
            {
                "usr/lib/systemd/logind.conf.d/50-kill.conf": "[Login]\nKillUserProcesses=yes\n",
                "etc/systemd/logind.conf.d/50-kill.conf": "",
            },
            set(),
        ),
        (
            {
                "run/systemd/logind.conf.d/10-a.conf": "[Login]\nKillUserProcesses=no\n",
                "etc/systemd/logind.conf.d/20-b.conf": "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=root alice\n",
            },
            {"bob"},
        ),
        ({"etc/systemd/logind.conf": "[Login]\nKillOnlyUsers=alice\n"}, {"alice"}),
        (
            {"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n"},
            {"alice", "bob", "root"},
        ),
        ({"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=maybe\n=\n[\nKillOnlyUsers=bob\n"}, set()),
    ],
)
def test_whom_a_logout_ends(tmp_path: Path, files: dict[str, str], ended: set[str]) -> None:
    """Whose processes end with their login is read from logind.conf and its drop-ins, as systemd reads them."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    texts = configuration(tmp_path)
    assert {user for user in ("alice", "bob", "root") if ends_processes_of(user, texts)} == ended


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({}, None),
        ({"CI": "true", "BUILD_ID": "7"}, None),
        ({"RUNNER_TRACKING_ID": "github_6b7d4f4e"}, ("GitHub Actions", "RUNNER_TRACKING_ID=0")),
        ({"RUNNER_TRACKING_ID": "0"}, None),
        ({"JENKINS_URL": "u", "BUILD_ID": "7"}, ("Jenkins", "BUILD_ID=dontKillMe")),
        ({"JENKINS_URL": "u", "BUILD_ID": "dontKillMe"}, None),
        (
            {"JENKINS_URL": "u", "BUILD_ID": "7", "JENKINS_NODE_COOKIE": "c"},
            ("Jenkins", "JENKINS_NODE_COOKIE=dontKillMe"),
        ),
        ({"JENKINS_URL": "u", "BUILD_ID": "7", "JENKINS_NODE_COOKIE": "dontKillMe"}, None),
    ],
)
def test_the_job_that_ends_a_process_is_found(environ: dict[str, str], job: tuple[str, str] | None) -> None:
    """The CI service that ends a process is told by the variable by which that service finds it."""
    assert job_of(environ) == job


def test_doctor_names_the_job_that_ends_sessions(home: Home) -> None:
    """doctor warns in a CI job that its sessions end with it, and later of servers that such a job has started."""

    def warnings(**env: str) -> list[str]:
        checks = json.loads(home.cli("doctor", "--json", env=env).stdout)
        return [check["text"] for check in checks if check["name"] == "job"]

    job = {"RUNNER_TRACKING_ID": "github_6b7d4f4e"}
    assert warnings() == []
    (text,) = warnings(**job)
    assert text.startswith("this is a GitHub Actions job, which ends every session")
    ok(home.cli("create", "-q", "--cli", "codex", env=job))
    (text,) = warnings()
    assert text.startswith("Codex's app-server (process ")
    assert "RUNNER_TRACKING_ID=0" in text
    ok(home.cli("kill", "--all"))
    create(home, "codex")
    assert warnings() == []


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
