"""What a locked-up process can and cannot do: real children that try."""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelite.errors import MachineError
from kernelite.harness import _seccomp
from kernelite.harness.cage import LAYERS, available, close, scrubbed_environment

NOBODY = 65534
OFFERED = available()
FULL = pytest.mark.skipif(set(OFFERED) != set(LAYERS), reason=f"offered here: {OFFERED}")
# What each layer must refuse when it is the only one.
ALONE = {
    "process": ["20 GB", "huge file"],
    "seccomp": ["tcp socket", "fork", "fork by clone", "exec", "kill parent", "outlive parent"],
    "landlock": ["write outside", "read outside", "delete outside", "rename outside"],
}
# Even outside the cage: too little memory, another kernel policy (Yama).
MAYBE_IMPOSSIBLE = {"20 GB", "ptrace parent", "read parent's memory map"}
LIBRARY = """
extern "C" int threads_seen(int wanted) {
  int seen = 0;
#pragma omp parallel num_threads(wanted) reduction(+ : seen)
  seen += 1;
  return seen;
}
"""
Reports = dict[str, dict[str, dict[str, str]]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that other users can enter; pytest's own they cannot."""
    with tempfile.TemporaryDirectory(prefix="kernelite-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def reports(folder: Path) -> Reports:
    source, library = folder / "library.cpp", folder / "library.so"
    source.write_text(LIBRARY)
    subprocess.run(
        ["g++", "-O1", "-fopenmp", "-shared", "-fPIC", str(source), "-o", str(library)], check=True
    )
    own = os.getuid()
    runs: dict[str, tuple[int, list[str], list[str], bool]] = {
        "caged": (own, list(OFFERED), [], False),
        "caged for a GPU": (own, list(OFFERED), [], True),
        "free": (own, [], ["forbidden"], False),
        **{layer: (own, [layer], ALONE[layer], False) for layer in ALONE if layer in OFFERED},
    }
    if own == 0:
        runs["caged nobody"] = (NOBODY, list(OFFERED), [], False)
    place = folder / "place"
    place.mkdir()
    script = Path(__file__).with_name("caged.py")
    command = [
        sys.executable,
        "-P",
        str(script),
        str(place),
        str(library),
        json.dumps([*runs.values()]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(zip(runs, json.loads(done.stdout), strict=True))


def refused(outcomes: dict[str, str]) -> set[str]:
    return {name for name, text in outcomes.items() if text != "done"}


@FULL
def test_nothing_forbidden_can_be_done_in_the_cage(reports: Reports) -> None:
    outcomes = reports["caged"]["forbidden"]
    assert set(outcomes) - refused(outcomes) == set()


@FULL
def test_nothing_forbidden_can_be_done_by_an_ordinary_user(reports: Reports) -> None:
    if "caged nobody" not in reports:
        pytest.skip("only root can become another user")
    outcomes = reports["caged nobody"]["forbidden"]
    assert set(outcomes) - refused(outcomes) == set()


@FULL
def test_a_cage_for_a_gpu_refuses_all_but_a_socket_that_leads_nowhere(reports: Reports) -> None:
    outcomes = reports["caged for a GPU"]["forbidden"]
    assert set(outcomes) - refused(outcomes) == {"unix socket"}


def test_a_cage_for_a_gpu_lets_a_driver_start(reports: Reports) -> None:
    outcomes = reports["caged for a GPU"]["permitted"]
    assert {name: outcomes[name] for name in refused(outcomes)} == {}


def test_what_is_forbidden_is_possible_outside_the_cage(reports: Reports) -> None:
    assert refused(reports["free"]["forbidden"]) <= MAYBE_IMPOSSIBLE


def test_a_kernel_can_do_its_work(reports: Reports) -> None:
    outcomes = reports["caged"]["permitted"]
    assert {name: outcomes[name] for name in refused(outcomes)} == {}


def test_an_ordinary_users_kernel_can_do_its_work(reports: Reports) -> None:
    if "caged nobody" not in reports:
        pytest.skip("only root can become another user")
    outcomes = reports["caged nobody"]["permitted"]
    # The interpreter may stand in root's home, which another user cannot enter.
    assert refused(outcomes) <= {"import of the standard library"}


@pytest.mark.parametrize("layer", ALONE)
def test_a_layer_refuses_its_part_without_the_others(reports: Reports, layer: str) -> None:
    if layer not in OFFERED:
        pytest.skip(f"no {layer} here")
    assert refused(reports[layer]["forbidden"]) == set(ALONE[layer])


def in_child(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``body`` in a fresh process; ``scratch`` and ``close`` are there."""
    head = """
        import os, sys, time
        from pathlib import Path
        from kernelite.harness.cage import close
        scratch = Path(sys.argv[1])
    """
    code = textwrap.dedent(head) + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("layers", "level"),
    [((), 0), (("process",), 1), (("process", "seccomp"), 2), (("process", "landlock"), 1),
     (("seccomp", "landlock"), 0), (("process", "seccomp", "landlock"), 3), (LAYERS, 4)],
)  # fmt: skip
def test_a_level_includes_all_below_it(layers: tuple[str, ...], level: int, tmp_path: Path) -> None:
    if not set(layers) <= set(OFFERED):
        pytest.skip(f"offered here: {OFFERED}")
    done = in_child(
        f"cage = close(scratch, [], 1 << 30, 10, {layers})\nprint(cage.level, *cage.layers)",
        str(tmp_path),
    )
    assert done.stdout.split() == [str(level), *layers]


@FULL
def test_a_layer_that_does_not_hold_is_not_claimed(tmp_path: Path) -> None:
    body = "print(close(scratch, [Path('/')], 1 << 30, 10).level)"  # then all files are readable
    assert in_child(body, str(tmp_path)).stdout.strip() == "2"


def test_too_much_cpu_time_ends_the_process(tmp_path: Path) -> None:
    done = in_child("close(scratch, [], 1 << 30, 0.5)\nwhile True: pass", str(tmp_path))
    assert done.returncode == -signal.SIGXCPU


def test_ignoring_the_cpu_limit_ends_it_a_second_later(tmp_path: Path) -> None:
    body = """
        import signal
        close(scratch, [], 1 << 30, 0.5)
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while True: pass
    """
    assert in_child(body, str(tmp_path)).returncode == -signal.SIGKILL


def test_a_caged_process_dies_with_its_parent(tmp_path: Path) -> None:
    body = """
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            close(scratch, [], 1 << 30, 10)
            os.write(told, b"x")
            time.sleep(60)
        os.read(ready, 1)
        print(pid)
    """
    pid = int(in_child(body, str(tmp_path)).stdout)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/root").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}/root").exists()  # nor has a zombie one


def test_a_process_with_several_threads_is_not_locked_up(tmp_path: Path) -> None:
    wait = threading.Event()
    thread = threading.Thread(target=wait.wait)
    thread.start()
    try:
        with pytest.raises(MachineError, match="several threads"):
            close(tmp_path, [], 1 << 30, 10)
    finally:
        wait.set()
        thread.join()


def test_a_readable_path_that_is_missing_is_named(tmp_path: Path) -> None:
    done = in_child("close(scratch, [scratch / 'absent'], 1 << 30, 10)", str(tmp_path))
    assert "MachineError" in done.stderr
    assert str(tmp_path / "absent") in done.stderr


def test_own_limits_of_the_machine_are_not_raised(tmp_path: Path) -> None:
    body = """
        import resource
        resource.setrlimit(resource.RLIMIT_CPU, (7, 7))
        print(close(scratch, [], 1 << 30, 100).level, resource.getrlimit(resource.RLIMIT_CPU)[1])
    """
    assert in_child(body, str(tmp_path)).stdout.split() == [str(len(OFFERED)), "7"]


def test_the_scrubbed_environment_is_private(tmp_path: Path) -> None:
    environment = scrubbed_environment(tmp_path)
    assert environment["HOME"] == environment["TMPDIR"] == str(tmp_path)
    assert all(value.startswith(str(tmp_path)) for k, value in environment.items() if "CACHE" in k)
    assert not [name for name in environment if re.search("KEY|TOKEN|SECRET|PROXY", name)]


def test_the_numbers_of_system_calls_are_the_kernels() -> None:
    folder = Path("/usr/include")
    headers = {
        0: folder / "x86_64-linux-gnu/asm/unistd_64.h",
        1: folder / "asm-generic/unistd.h",
    }
    tables = ",".join(
        (_seccomp.FILES, _seccomp.MEMORY_AND_THREADS, _seccomp.REFUSED, _seccomp.BY_ARGUMENT,
         _seccomp.OWN, _seccomp.GPU, _seccomp.GPU_BY_ARGUMENT)
    )  # fmt: skip
    checked = 0
    for column, header in headers.items():
        if header.exists():
            lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s", header.read_text())
            kernel = {name.replace("fstatat", "newfstatat") if column else name: int(number)
                      for name, number in lines}  # fmt: skip
            ours = _seccomp.numbers(tables, column)
            assert ours == ours | {name: kernel[name] for name in ours if name in kernel}
            checked += len(ours.keys() & kernel.keys())
    if not checked:
        pytest.skip("no kernel headers here")


def test_every_architecture_has_a_filter_that_the_kernel_would_take() -> None:
    for machine, gpu in itertools.product(_seccomp.COLUMN, (False, True)):
        assert len(_seccomp._fixed(machine, gpu)) % 8 == 0
        assert len(_seccomp._fixed(machine, gpu)) // 8 < 4096 - 64
    assert platform.machine() not in _seccomp.COLUMN or platform.machine() in _seccomp.FIXED


def test_closing_the_cage_leaves_no_descriptor_open(tmp_path: Path) -> None:
    body = """
        before = os.listdir("/proc/self/fd")
        close(scratch, [scratch], 1 << 30, 10)
        print(before == os.listdir("/proc/self/fd"))
    """
    assert in_child(body, str(tmp_path)).stdout.strip() == "True"


def test_trying_what_is_available_leaves_this_process_free() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    available()
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert Path("/tmp").exists()
