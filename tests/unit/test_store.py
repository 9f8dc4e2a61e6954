"""The session store."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev_sessions.errors import SessionNotFound, StoreError
from dev_sessions.models import CodexSession
from dev_sessions.record_json import session_to_json
from dev_sessions.sessions.store import Store
from dev_sessions.system.file_locks import hold_lock
from tests.support.records import CLAUDE, TIME

ORIGINAL = Path(__file__).parent.parent / "data" / "stores" / "original.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a store that does not exist yet."""
    return tmp_path / "state" / "sessions.json"


def write(path: Path, text: str | bytes) -> None:
    """Create the store's file."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def add(store: Store, session_id: str) -> None:
    """Return a session with an id."""
    with store.edit() as content:
        content.sessions[session_id] = CodexSession(
            id=session_id, internal_id="t", path="/w", created_at=TIME, last_used=TIME
        )


def test_no_file_is_an_empty_store(path: Path) -> None:
    """A new user has no sessions, and reading leaves no trace."""
    assert Store(path).read().sessions == {}
    assert not path.parent.exists()
    with pytest.raises(SessionNotFound, match=r"^Session not found: fizz-top$"):
        Store(path).get("fizz-top")


def test_what_is_written_is_read_again(path: Path) -> None:
    """A session is remembered until it is removed."""
    store = Store(path)
    add(store, "fizz-top")
    store.update("fizz-top", {"model": "é"})
    assert Store(path).get("fizz-top").model == "é"
    store.remove("fizz-top")
    store.remove("fizz-top")
    with pytest.raises(SessionNotFound):
        store.update("fizz-top", {"model": "x"})


def test_only_the_user_can_read_it(path: Path) -> None:
    """Directory and file are private from the start, and a wide directory is tightened."""
    path.parent.mkdir(mode=0o755)
    os.chmod(path.parent, 0o755)
    previous = os.umask(0)
    try:
        add(Store(path), "fizz-top")
    finally:
        os.umask(previous)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {
        file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir() if file.name != ".sessions.holder"
    } == {
        "sessions.json": 0,
        ".sessions.flock": 0,
    }


def test_unknown_records_and_fields_survive(path: Path) -> None:
    """Records and fields of another version survive when this one changes something else."""
    strange = [{"cli": "gemini", "championId": "zed-mid"}, 7, {**CLAUDE, "championId": ["?"]}]
    write(path, json.dumps({"version": 1, "sessions": [{**CLAUDE, "new": {"x": 1}}, *strange], "alsoNew": True}))
    store = Store(path)
    add(store, "ahri-mid")
    store.update("fizz-top", {"model": "d"})
    document = json.loads(path.read_text())
    assert document["alsoNew"] is True
    assert {**CLAUDE, "new": {"x": 1}, "model": "d"} in document["sessions"]
    assert all(record in document["sessions"] for record in strange)
    assert "zed-mid" in store.read().taken_ids()
    with pytest.raises(StoreError, match="zed-mid"):
        store.get("zed-mid")


def test_a_record_that_only_differs_in_notation_is_understood(path: Path) -> None:
    """A number written as text by another program is still that number."""
    write(path, json.dumps({"version": 1, "sessions": [{**CLAUDE, "cli": "codex", "appServerPort": "6789"}]}))
    session = Store(path).get("fizz-top")
    assert isinstance(session, CodexSession)
    assert session.app_server_port == 6789


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("createdAt", value)
            for value in ["", "soon", "2026-13-01", "2026-01-01T25:00Z", "0", "²", "9" * 400, "-1", "\0"]
        ),
        ("lastUsed", "0000-00-00"),
        ("claudeSendTime", "yesterday"),
        *(("championId", value) for value in ["", "a\0b", "\ud800", "a/b", "../x", "a\n", "\u202ea"]),
        *(("path", value) for value in ["/a\0b", "/\ud800"]),
        ("internalId", "\0"),
        ("tmuxSocket", "a\0"),
        *(("claudePid", value) for value in [-1, 0, 2**31, 10**400]),
    ],
)
def test_a_record_that_no_session_has_hides_no_other(path: Path, field: str, value: object) -> None:
    """A record with an impossible time, id, path or process is kept and not used, and the others are read."""
    bad = {**CLAUDE, "championId": "vi-jg", field: value}
    write(path, json.dumps({"version": 1, "sessions": [bad, CLAUDE]}))
    content = Store(path).read()
    assert set(content.sessions) == {"fizz-top"}
    assert content.unreadable == [bad]
    add(Store(path), "zed-mid")
    assert bad in json.loads(path.read_bytes())["sessions"]


def test_many_odd_records_take_no_time(path: Path) -> None:
    """Hundreds of records in another notation, or of none, are read in the time of one command."""
    odd = [{**CLAUDE, "championId": f"vi-{number}", "claudePid": "5"} for number in range(150)]
    write(path, json.dumps({"version": 1, "sessions": [*odd, *({**each, "createdAt": 5} for each in odd)]}))
    began = time.process_time()
    content = Store(path).read()
    assert (len(content.sessions), len(content.unreadable)) == (150, 150)
    assert time.process_time() - began < 1.5


def test_a_path_need_not_be_utf_8(path: Path) -> None:
    """A session in a folder whose name is not UTF-8 is one."""
    write(path, json.dumps({"version": 1, "sessions": [{**CLAUDE, "path": "/caf\udce9"}]}))
    assert Store(path).get("fizz-top").path == os.fsdecode(b"/caf\xe9")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 1}', '{"version": 2, "sessions": []}', '{"version": 1, "sessions": {}}', b"\xff\x00"],
)
def test_a_file_that_is_no_store_is_never_overwritten(path: Path, content: str | bytes) -> None:
    """A damaged store is named, with what to do, and left exactly as it is."""
    write(path, content)
    before = path.read_bytes()
    for attempt in (lambda: Store(path).read(), lambda: add(Store(path), "fizz-top")):
        with pytest.raises(StoreError, match=str(path)):
            attempt()
    assert path.read_bytes() == before


def test_the_originals_store_is_taken_over(path: Path) -> None:
    """A store that the original wrote is read completely and written back without loss."""
    write(path, ORIGINAL.read_bytes())
    store = Store(path)
    before = json.loads(path.read_text())
    add(store, "new-top")
    after = json.loads(path.read_text())
    assert after["sessions"][: len(before["sessions"])] == before["sessions"]
    assert store.read().unreadable == []


def test_a_failed_write_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the old content stays, the error names the file, and no temporary file is left."""
    store = Store(path)
    add(store, "fizz-top")
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        add(store, "ahri-mid")
    assert path.read_bytes() == before
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".sessions.json")]


def test_an_edit_that_fails_changes_nothing(path: Path) -> None:
    """If a change raises an error, nothing of it is saved."""
    store = Store(path)
    add(store, "fizz-top")

    def half_a_change() -> None:
        with store.edit() as content:
            content.sessions.clear()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_a_change()
    assert "fizz-top" in store.read().sessions


def _add_many(path: Path, worker: int, count: int) -> None:
    for number in range(count):
        add(Store(path), f"s-{worker}-{number}")


def test_no_change_is_lost_between_processes(path: Path) -> None:
    """Many commands at once each get their change in."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add_many, args=(path, worker, 10)) for worker in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(Store(path).read().sessions) == 60
    assert not path.with_name("sessions.json.lock").exists()


def hold(path: Path) -> subprocess.Popen[bytes]:
    """Start another process that holds the store's lock."""
    code = (
        "import sys; from pathlib import Path; from dev_sessions.sessions.store import Store\n"
        "with Store(Path(sys.argv[1])).edit(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_a_killed_holder_leaves_no_lock(path: Path) -> None:
    """After a command was killed in mid-change the next one does not wait."""
    holder = hold(path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert path.with_name("sessions.json.lock").is_dir()
    add(Store(path), "fizz-top")
    assert not path.with_name("sessions.json.lock").exists()


def test_a_hanging_holder_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another command holds the store for too long, the error names its process."""
    holder = hold(path)
    monkeypatch.setattr("dev_sessions.sessions.store.LOCK_TIMEOUT", 0.3)
    with pytest.raises(StoreError, match=rf"by process {holder.pid};"):
        add(Store(path), "fizz-top")
    assert Store(path).read().sessions == {}, "reading takes no lock"
    holder.communicate()
    add(Store(path), "fizz-top")


def test_an_old_cli_is_kept_out_and_keeps_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original's lock directory is respected while it is fresh, and taken over when it is stale."""
    path.parent.mkdir()
    lock = path.with_name("sessions.json.lock")
    lock.mkdir(mode=0o755)
    monkeypatch.setattr("dev_sessions.sessions.store.LOCK_TIMEOUT", 0.3)
    with pytest.raises(StoreError, match="held by an older dev-sessions"):
        add(Store(path), "fizz-top")
    os.utime(lock, (1, 1))
    with Store(path).edit() as content:
        assert lock.is_dir()
        content.sessions["fizz-top"] = CodexSession(
            id="fizz-top", internal_id="t", path="/w", created_at=TIME, last_used=TIME
        )
    assert not lock.exists()


def test_one_sender_at_a_time(tmp_path: Path) -> None:
    """A lock that cannot be acquired in time is an error that says what the other command does."""
    lock = tmp_path / "locks" / "fizz-top.lock"
    with (
        hold_lock(lock, 1, "x"),
        pytest.raises(StoreError, match=r"Another message is under way for 0\.1 s"),
        hold_lock(lock, 0.1, "Another message is under way"),
    ):
        pytest.fail("two at once")
    with hold_lock(lock, 0.1, "x"):
        assert lock.exists()


def test_the_recorded_store_of_the_original_is_the_originals_form() -> None:
    """The recorded store has the format of version 0.4."""
    document = json.loads(ORIGINAL.read_text())
    assert document["version"] == 1
    for record in document["sessions"]:
        assert "tmuxSocket" not in record
        session = Store(ORIGINAL).read().sessions[record["championId"]]
        assert session_to_json(session) == record
