"""Runners start, answer, die and leave nothing behind, and their deaths are told apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from kernelite.errors import MachineError
from kernelite.harness.cage import LAYERS, available
from kernelite.harness.job import Effort, Job
from kernelite.harness.judge import Judge
from kernelite.harness.remote import Lost, Remote, Server
from kernelite.harness.verdict import Reason
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem, Signature
from kernelite.problems.tensors import TensorSpec

SIGNATURE = Signature((TensorSpec((4,), (1,), "float32"),), ({"tensor": True},), (), ())
X = torch.arange(4.0)


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server of this file, whose children and folders can be counted."""
    started = Server()
    yield started
    started.close()


def remote(server: Server, source: str, caged: bool = True, timeout_s: float = 10) -> Remote:
    """A runner with a Python kernel, which no look at its source has stopped."""
    kernel = Kernel("pytorch", source)
    artefact = backend("pytorch").build(kernel)
    return Remote(server, kernel, artefact, SIGNATURE, 1, caged, timeout_s)


def call(made: Remote) -> list[torch.Tensor]:
    return made.ask({"do": "call"}, [X], largest_bytes=64)[1]


def folders(server: Server) -> list[Path]:
    """The folders of the server's runners."""
    return list(Path(server.folder).iterdir())


def only_the_spare_is_left(server: Server) -> bool:
    """Whether soon no process and no folder is left but those of the runner that waits for work."""
    pid = server.process.pid
    for _ in range(200):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) == 1 and [folder.name for folder in folders(server)] == children:
            return True
        time.sleep(0.01)
    return False


def lost(server: Server, body: str, timeout_s: float = 10) -> Lost:
    """What becomes of a kernel with this body."""
    made = remote(
        server, f"import os, signal, torch\ndef run(x):\n    {body}\n", timeout_s=timeout_s
    )
    with pytest.raises(Lost) as found:
        call(made)
    made.close()
    return found.value


def test_a_runner_answers_with_what_the_kernel_returns(own: Server) -> None:
    made = remote(own, "def run(x):\n    return x * 2\n")
    assert torch.equal(call(made)[0], X * 2)
    made.close()


def test_a_caged_runner_has_every_layer_that_the_machine_offers(own: Server) -> None:
    made = remote(own, "def run(x):\n    return x\n")
    made.close()
    assert list(made.layers) == available()
    assert made.isolation == next(
        (i for i, name in enumerate(LAYERS) if name not in made.layers), len(LAYERS)
    )


def test_a_runner_without_a_cage_claims_none(own: Server) -> None:
    made = remote(own, "def run(x):\n    return x\n", caged=False)
    made.close()
    assert (made.isolation, made.layers) == (0, ())


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        ("raise ValueError('of no use')", Reason.CRASH, "ValueError: of no use"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", Reason.CRASH, "died of SIGSEGV"),
        ("os._exit(3)", Reason.CRASH, "exit code 3"),
        ("raise SystemExit(0)", Reason.CRASH, "exit code 70"),
        ("return torch.empty(1 << 40)", Reason.MEMORY, "can't allocate memory"),
        ("return 'x' * (1 << 40)", Reason.MEMORY, "MemoryError"),
        ("return torch.zeros(1000)", Reason.CRASH, "4000 bytes where at most 64"),
        ("return torch.nn.Parameter(x)", Reason.CRASH, "not exactly a torch.Tensor"),
        ("os.write(3, b'x'); os.closerange(3, 99)", Reason.CRASH, ""),
    ],
)
def test_each_death_has_its_own_words(own: Server, body: str, reason: Reason, words: str) -> None:
    found = lost(own, body)
    assert found.reason == reason
    assert words in str(found)


def test_a_process_without_a_limit_of_its_own_is_ended_when_it_takes_too_much() -> None:
    body = "y = torch.ones(1 << 28); time.sleep(5); return x"
    source = f"import torch, time\ndef run(x):\n    {body}\n"
    with closing(Server(memory_bytes=600 << 20)) as server:
        baseline = remote(server, source, caged=False)
        with pytest.raises(Lost, match="it took more than 600 MiB of memory") as found:
            call(baseline)
        assert found.value.reason == Reason.MEMORY
        honest = remote(server, "def run(x):\n    return x + 1\n", caged=False)
        assert torch.equal(call(honest)[0], X + 1)


def test_a_runner_that_never_answers_is_ended_after_its_time(own: Server) -> None:
    found = lost(own, "import time; time.sleep(60)", timeout_s=0.3)
    assert (found.reason, str(found)) == (Reason.TIMEOUT, "no answer within 0.3 s")
    assert only_the_spare_is_left(own)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('while loading')", Reason.CRASH),
        ("nothing = 1", Reason.BUILD),
        ("while True: pass", Reason.TIMEOUT),
        ("import os; os._exit(1)", Reason.CRASH),
    ],
)
def test_a_kernel_that_does_not_load_leaves_no_runner(
    own: Server, source: str, reason: Reason
) -> None:
    with pytest.raises(Lost) as found:
        remote(own, source, timeout_s=1)
    assert found.value.reason == reason
    assert only_the_spare_is_left(own)


def test_a_runners_folder_goes_with_it_whatever_it_left_there(own: Server) -> None:
    source = """
import os
def run(x):
    open("file", "w").write("text")
    os.makedirs("deep/er")
    os.symlink("/etc", "link")
    return x
"""
    made = remote(own, source)
    call(made)
    assert Path(f"/proc/{made.pid}/cwd/file").read_text() == "text"
    made.close()
    assert only_the_spare_is_left(own)
    assert Path("/etc/passwd").exists()


def test_closing_twice_ends_nobody_else(own: Server) -> None:
    made = remote(own, "def run(x):\n    return x\n")
    made.close()
    other = remote(own, "def run(x):\n    return x\n")
    made.close()
    assert torch.equal(call(other)[0], X)
    other.close()


def test_what_a_candidate_prints_does_not_fill_the_log(own: Server) -> None:
    before = os.fstat(own.log.fileno()).st_size
    made = remote(
        own, "import os\ndef run(x):\n    print('x' * 9999)\n    os.write(2, b'y')\n    return x"
    )
    call(made)
    made.close()
    assert os.fstat(own.log.fileno()).st_size == before


def test_many_runners_leave_no_descriptor(own: Server) -> None:
    def opened() -> tuple[int, int]:
        folders = ("/proc/self/fd", f"/proc/{own.process.pid}/fd")
        first, second = (len(os.listdir(folder)) for folder in folders)
        return first, second

    remote(own, "def run(x):\n    return x\n").close()
    assert only_the_spare_is_left(own)
    before = opened()
    for _ in range(10):
        remote(own, "def run(x):\n    return x\n").close()
    assert only_the_spare_is_left(own)
    assert opened() == before


def test_an_answer_that_does_not_say_what_it_holds_is_a_crash(
    server: Server, linear: Problem
) -> None:
    forged = """
import json, os, struct
import torch
def run(x, weight):
    text = json.dumps({"tensors": [], "outputs": "many"}).encode()
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            os.write(fd, struct.pack("<Q", len(text)) + text)
        except OSError:
            pass
    return x
"""
    kernel = Kernel("pytorch", forged)
    with Judge(linear, server, 1) as judge:
        job = Job(judge, kernel, Effort(0), "cpu", backend("pytorch").build(kernel))
        with job.runner, pytest.raises(Lost, match="does not say which tensors are outputs"):
            job.call(judge.cases.drawn[0])


def test_the_death_of_the_server_is_the_machines_fault() -> None:
    server = Server()
    made = remote(server, "def run(x):\n    return x\n")
    server.process.kill()
    server.process.wait()
    with pytest.raises(MachineError, match="fork server has died"):
        call(made)
    with pytest.raises(MachineError, match="fork server has died"):
        server.fork()
    server.close()
    assert not Path(server.folder).exists()


def test_runners_die_with_their_server_and_leave_no_folder() -> None:
    server = Server()
    made = remote(server, "def run(x):\n    return x\n")
    server.close()
    for _ in range(200):
        if not Path(f"/proc/{made.pid}").exists():
            break
        time.sleep(0.01)
    assert not Path(f"/proc/{made.pid}").exists()
    assert not Path(server.folder).exists()


def test_a_server_that_cannot_start_says_its_last_words() -> None:
    server = Server(preload="no_such_module_of_ours")
    with pytest.raises(MachineError, match="No module named 'no_such_module_of_ours'"):
        server.fork()
    server.close()


def test_a_judge_that_is_killed_leaves_no_runner_and_no_folder(tmp_path: Path) -> None:
    code = """
import os, signal
from kernelite.harness.remote import Server
server = Server()
pid, _ = server.fork()
os.write(1, f"{server.process.pid} {pid}".encode())
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    gone = [Path(f"/proc/{pid}") for pid in done.stdout.split()]
    for _ in range(500):
        if not any(p.exists() and "Z" not in (p / "stat").read_text().split() for p in gone):
            break
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
