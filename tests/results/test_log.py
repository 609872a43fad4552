from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kernelite.errors import MachineError, UsageError
from kernelite.results.log import LOG_NAME, EventLog, read
from kernelite.results.records import Evaluated, RunStarted, Verdict

WRITER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from kernelite.results.log import EventLog
log = EventLog(Path(sys.argv[1]))
for number in range(10**9):
    print(log.append("tuned", {"site": f"s{number}"}), flush=True)
"""
FULL_DISK = """
import resource, sys
from pathlib import Path
from kernelite.errors import MachineError
from kernelite.results.log import EventLog
log = EventLog(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    log.append("fallback", {"reason": "x" * 1_000_000})
except MachineError as error:
    print(error)
"""


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def alter(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / LOG_NAME) as database:
        database.execute(statement)
    database.close()


def test_an_event_comes_back_as_the_record_that_went_in(tmp_path: Path) -> None:
    started = RunStarted("r1", "a.py:build", {"name": "cpu"}, {"seed": 0}, {"torch": "2"})
    with EventLog(tmp_path) as log:
        assert log.append("run_started", started) == 1
    assert [event.body for event in read(tmp_path)] == [started]


def test_an_event_is_found_by_its_uid(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.append("fallback", {"reason": "a"}, uid="u")
        log.append("fallback", {"reason": "b"}, uid="v")
        found = log.find("v")
        assert found is not None
        assert found == list(log.events())[1]
        assert log.find("w") is None


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log, ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda n: log.append("fallback", {"reason": str(n)}), range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_the_same_uid_is_written_once_and_keeps_its_number(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        first = log.append("fallback", {"reason": "a"}, uid="u")
        log.append("fallback", {"reason": "b"})
        assert log.append("fallback", {"reason": "c"}, uid="u") == first
        assert [event.seq for event in log.events("fallback")] == [1, 2]


def test_a_body_that_is_not_of_its_kind_is_refused_at_the_door(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        with pytest.raises(ValueError, match="problem"):
            log.append("evaluated", {"candidate": "a"})
        with pytest.raises(ValueError, match="no kind of event 'evaluted'"):
            log.append("evaluted", {})
        assert list(log.events()) == []


def test_numbers_that_are_not_finite_come_back_as_unknown(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        verdict = Verdict("failed", accuracy_ratio=float("inf"))
        log.append("evaluated", Evaluated("a", "p", verdict))
    body = read(tmp_path)[0].body
    assert isinstance(body, Evaluated)
    assert body.verdict.accuracy_ratio is None


def test_a_reader_ignores_unknown_kinds_and_unknown_fields(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.append("tuned", {"site": "s", "trials": 3, "mood": "fine"})
    alter(tmp_path, "insert into event select 2, 'x', ts, 'teleported', schema, '{}' from event")
    (event,) = read(tmp_path)
    assert getattr(event.body, "trials", None) == 3


def test_a_known_kind_with_an_unfit_body_is_marked_and_not_fatal(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.append("tuned", {"site": "s"})
    alter(tmp_path, """update event set body = '{"trials": "many"}'""")
    (event,) = read(tmp_path)
    assert getattr(event.body, "reason", "").startswith("site")


def test_texts_with_broken_unicode_and_nul_bytes_are_kept_readable(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.append("fallback", {"reason": "a\x00b\udcffc"})
    assert getattr(read(tmp_path)[0].body, "reason", None) == "a\x00b?c"


def test_kill_9_loses_no_event_that_was_acknowledged(tmp_path: Path) -> None:
    writer = start(WRITER, tmp_path)
    assert writer.stdout is not None
    for _ in range(40):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split("\n")
    acknowledged = 40 + sum(line.isdigit() for line in rest[:-1])
    writer.wait()
    with EventLog(tmp_path) as log:  # the lock of the dead process is gone
        assert [event.seq for event in log.events()][:acknowledged] == list(
            range(1, acknowledged + 1)
        )


def test_a_second_run_on_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    writer = start(WRITER, tmp_path)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(UsageError, match=f"process {writer.pid}.*{tmp_path}.*--out"):
            EventLog(tmp_path)
        assert read(tmp_path)  # a reader may watch
    finally:
        writer.kill()
        writer.communicate()


def test_a_forked_child_does_not_keep_the_folder_locked(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        log.close()
        EventLog(tmp_path).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_forked_child_does_not_let_others_in(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(UsageError, match="another run"):
        EventLog(tmp_path)
    log.close()


def test_a_disk_that_takes_no_more_is_the_machines_fault_in_one_line(tmp_path: Path) -> None:
    said, trace = start(FULL_DISK, tmp_path).communicate(timeout=30)
    assert trace == ""
    assert len(said.splitlines()) == 1
    assert str(tmp_path / LOG_NAME) in said


def test_a_log_of_a_newer_kernelite_is_refused(tmp_path: Path) -> None:
    EventLog(tmp_path).close()
    alter(tmp_path, "insert into schema_version values (99, 0)")
    with pytest.raises(MachineError, match=r"newer Kernelite.*99"):
        read(tmp_path)


def test_a_file_that_is_no_database_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).write_text("not a database, but long enough to have a header" * 40)
    for writable in (True, False):
        with pytest.raises(UsageError, match="not an event log"):
            EventLog(tmp_path, writable=writable)
    (tmp_path / LOG_NAME).unlink()
    EventLog(tmp_path).close()  # the refused writer has not kept the lock


def test_a_folder_without_a_run_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kernelite optimize"):
        read(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        EventLog(tmp_path / "file")
