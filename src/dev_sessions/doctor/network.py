"""Checks over the network: the gateway, from its host and from a container, and other machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from http import HTTPStatus

from dev_sessions.doctor.check import TIMEOUT, Check, CheckFunction, one_line, run_checks
from dev_sessions.errors import DevSessionsError
from dev_sessions.gateway.connection import get, is_health
from dev_sessions.gateway.service import service_manager
from dev_sessions.gateway.service_manager import port_of
from dev_sessions.gateway.tokens import container_token
from dev_sessions.models import JsonObject
from dev_sessions.remote.relay import Relay
from dev_sessions.sessions.store import Store
from dev_sessions.system import paths, pid_namespace


def gateway() -> Iterator[Check]:
    """Check the gateway of this machine, which only containers need."""
    file = service_manager(sys.platform).service_file
    service = file.read_bytes() if file.exists() else None
    installed = "not installed as a service" if service is None else f"installed as {file}"
    url = f"http://127.0.0.1:{(port_of(service) if service is not None else None) or paths.gateway_port()}"
    try:
        status, body = get(url, "/health", None, TIMEOUT)
    except DevSessionsError as error:
        if service is None:
            yield Check("gateway", "ok", f"not running ({url}); only containers need it")
        else:
            text = f"{installed}, but {one_line(error)}; see {paths.gateway_log()}, and dev-sessions gateway status"
            yield Check("gateway", "warning", text)
        return
    if is_health(status, body):
        yield Check("gateway", "ok", f"{_version(body)} answers at {url}; {installed}")
    else:
        yield Check("gateway", "warning", f"something else answers at {url} (HTTP {status}); choose another --port")


def gateway_of_container() -> Iterator[Check]:
    """Check the gateway of the host, and this container's token."""
    url = paths.gateway_url()
    try:
        status, body = get(url, "/health", None, TIMEOUT)
        if not is_health(status, body):
            reason = (body or {}).get("error") or f"HTTP {status}"
            yield Check("gateway", "broken", f"{url} is not a gateway: {reason}; check {paths.GATEWAY_URL}")
            return
        yield Check("gateway", "ok", f"{_version(body)} answers at {url}")
    except DevSessionsError as error:
        advice = f"run dev-sessions gateway on the host, and check {paths.GATEWAY_URL}"
        if isinstance(error.__cause__, PermissionError):
            advice = pid_namespace.socket_advice()
        yield Check("gateway", "broken", f"{one_line(error)}; {advice}")
        return
    yield _token(url)


def _token(url: str) -> Check:
    try:
        token = container_token()
        # Any request but /health requires the token; this one changes nothing.
        status, _ = get(url, "/inspect?id=-", token, TIMEOUT)
    except DevSessionsError as error:
        return Check("token", "broken", one_line(error))
    if status == HTTPStatus.UNAUTHORIZED:
        problem = "the gateway does not accept the token" if token else "the gateway requires a token"
        text = f"{problem}; mount the gateway's --token-file and set {paths.GATEWAY_TOKEN_FILE}"
        return Check("token", "broken", text)
    return Check("token", "ok", "accepted" if token else "not required")


def workspace() -> Iterator[Check]:
    """Check how a container's paths are translated to the host's."""
    if paths.shares_paths():
        yield Check("workspace", "ok", "this sandbox has the paths of its host")
        return
    folder, host = paths.container_workspace(), paths.host_path()
    if host is None:
        text = f"{paths.HOST_PATH} is not set; set it to the path of {folder} on the host, to create sessions there"
        yield Check("workspace", "broken", text)
    elif not os.path.isabs(host):
        yield Check("workspace", "broken", f"{paths.HOST_PATH} is {host!r}; set it to an absolute path of the host")
    elif not os.path.isdir(folder):
        text = f"{folder} does not exist; mount {host} there, or set {paths.CONTAINER_WORKSPACE} to its mount point"
        yield Check("workspace", "warning", text)
    else:
        yield Check("workspace", "ok", f"{folder} is {host} on the host")


def hosts() -> Iterator[Check]:
    """Check the machines that have sessions, in parallel."""
    records = Store(paths.store_file()).read().sessions.values()
    places = {(s.host, s.remote_bin or paths.DEFAULT_REMOTE_BIN) for s in records if s.host is not None}
    yield from run_checks({f"host {host}": _host(host, remote_bin) for host, remote_bin in sorted(places)})


def _host(host: str, remote_bin: str) -> CheckFunction:
    def ask() -> Iterator[Check]:
        warnings: list[str] = []
        try:
            version = Relay(host, remote_bin, None, warnings.append).query_version(TIMEOUT)
        except DevSessionsError as error:
            yield Check(f"host {host}", "warning", f"{one_line(error)}; try: ssh {host} {remote_bin} --version")
            return
        if warnings:
            yield Check(f"host {host}", "warning", warnings[0])
        else:
            yield Check(f"host {host}", "ok", f"reachable, with dev-sessions {version}")

    return ask


def _version(body: JsonObject | None) -> str:
    return f"version {(body or {}).get('version', '0.4')}"
