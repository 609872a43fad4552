"""What is made of compute-sanitizer's words, and what holds the process that it watches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernelite.harness import sanitizer
from kernelite.harness.cage import available
from kernelite.harness.sanitized import FINISHED, LAYERS
from kernelite.harness.sanitizer import FOUND, Report, parsed
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

CLEAN = """\
========= COMPUTE-SANITIZER
========= ERROR SUMMARY: 0 errors
"""
OUT_OF_BOUNDS = """\
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at scale(float *, int)+0x90
=========     by thread (32,0,0) in block (0,0,0)
=========     Access to 0x7f5e04000200 is out of bounds
=========     and is 1 bytes after the nearest allocation at 0x7f5e04000000 of size 512 bytes
=========
========= ERROR SUMMARY: 32 errors
"""
RACE = """\
========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at sum(const float *, float *)+0x1c0
=========     and Read access at sum(const float *, float *)+0x250 [1016 hazards]
=========
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
WARNING = """\
========= COMPUTE-SANITIZER
========= Warning: Race reported between Read access at f()+0x1f20
========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)
"""
NEVER_RAN = """\
========= COMPUTE-SANITIZER
========= Error: Target application terminated before first instrumented API call
========= ERROR SUMMARY: 0 errors
"""
NO_DEVICE = "========= COMPUTE-SANITIZER\n========= Error: Device not supported\n"


@pytest.mark.parametrize(
    ("text", "code", "report"),
    [
        (CLEAN, FINISHED, Report(0, "")),
        (WARNING, FINISHED, Report(0, "")),
        (OUT_OF_BOUNDS, FOUND, Report(32, "Invalid __global__ write of size 4 bytes")),
        (OUT_OF_BOUNDS, FINISHED, Report(32, "Invalid __global__ write of size 4 bytes")),
        (RACE, FOUND, Report(1, "Error: Race reported between Write access at"
                                " sum(const float *, float *)+0x1c0")),
    ],
)  # fmt: skip
def test_what_the_tool_counts_is_what_is_found(text: str, code: int, report: Report) -> None:
    assert parsed(text, code) == report


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (CLEAN, 0, "exit code 0, and it said: COMPUTE-SANITIZER"),
        (CLEAN, 1, "exit code 1"),
        (NEVER_RAN, 1, "terminated before first instrumented"),
        (NO_DEVICE, FINISHED, "Device not supported"),
        ("", FINISHED, "it said: nothing"),
        ("", -9, "exit code -9"),
    ],
)
def test_neither_silence_nor_an_early_end_is_an_answer(text: str, code: int, words: str) -> None:
    found = parsed(text, code)
    assert found.errors is None
    assert words in found.text


def watched(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    """The process that the tool would start, without the tool and on the CPU."""
    kernel = Kernel("pytorch", f"import os\ndef run(x):\n    {body}\n")
    artefact, look = backend("pytorch").build(kernel), TensorSpec((4,), (1,), "float32")
    signature = Signature((look,), ({"tensor": True},), (), ())
    request = {"device": "cpu", "backend": "pytorch", "source": kernel.source,
               "signature": signature.as_json(), "tensors": [torch.ones(4)]}  # fmt: skip
    torch.save(request, folder / "request")
    command = [sys.executable, "-P", "-m", "kernelite.harness.sanitized",
               str(folder / "request"), str(artefact)]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(not set(LAYERS) <= set(available()), reason="no such walls here")
def test_the_watched_process_says_that_it_came_to_the_end(tmp_path: Path) -> None:
    done = watched(tmp_path, "print('Error: 1 errors'); return x * 2")
    assert (done.returncode, done.stdout) == (FINISHED, "")


@pytest.mark.skipif(not set(LAYERS) <= set(available()), reason="no such walls here")
@pytest.mark.parametrize("attempt", ["open('/etc/passwd')", "os.execv('/bin/true', ['true'])"])
def test_the_watched_kernel_is_locked_up(tmp_path: Path, attempt: str) -> None:
    body = f"""
    try:
        {attempt}
    except PermissionError:
        return x
    os._exit(7)"""
    assert watched(tmp_path, body.strip()).returncode == FINISHED


def test_a_tool_that_is_not_installed_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sanitizer, "FOLDERS", ("/nowhere",))
    assert sanitizer.path() is None


@pytest.mark.skipif(set(LAYERS) | {"namespaces"} > set(available()), reason="no such walls here")
@pytest.mark.parametrize(("talks", "said"), [(True, "hello"), (False, "PermissionError")])
def test_a_tool_is_reached_within_its_network_if_that_is_asked_for(
    talks: bool, said: str, tmp_path: Path
) -> None:
    code = f"""
import os, socket, sys
from pathlib import Path
from kernelite.harness.cage import close, raise_loopback
scratch = Path(sys.argv[1])
close(scratch, [], 1 << 30, 10, ["namespaces"])
raise_loopback()
tool = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    close(scratch, [], 1 << 30, 10, ["process", "landlock"], talks={talks})
    try:
        socket.create_connection(tool.getsockname()).send(b"hello")
    except OSError as error:
        print(type(error).__name__, flush=True)
    os._exit(0)
os.wait()
if {talks}:
    print(tool.accept()[0].recv(9).decode())
"""
    command = [sys.executable, "-P", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == said, done.stderr
