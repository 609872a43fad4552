"""What the static look finds in a source, where, and what it must leave alone."""

from __future__ import annotations

from textwrap import dedent

import pytest

from kernelite.harness._cpp_names import GENERATED_HEADERS
from kernelite.harness.sources import cpp_findings, findings, python_findings

HONEST_CPP = r"""// kernelite: {"entry": "f", "args": ["in0", "out0", "i64: in0.numel"]}
#include <cmath>
#include "prelude.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
/* system("rm") fork() #include <thread> */
// a joined comment: \
   popen("x", "r");
constexpr int64_t LIMIT = 1'000'000;
static const float table[] = {0x1p-3f, 'a', '\''};
static inline float read(const float* p) { return *p; }
struct Tile { float open[4]; float kill() const { return open[0]; } };
extern "C" __attribute__((visibility("default"))) void f(const float* x, float* y, int64_t n) {
  const char* text = "dlopen(\"x\") asm fork";
  const char* raw = R"code(system("ls"); )" getenv )code";
  auto write = [&](int64_t i) { y[i] = std::exp(read(x + i)); };
  Tile tile; float signal = tile.open[0] + tile.kill();
#pragma omp parallel for simd
  for (int64_t i = 0; i < n; ++i) write(i);
}
"""

HONEST_PYTHON = '''
"""exec, os.system and a two-pass softmax."""
from __future__ import annotations
import math
import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import compile, nn

@triton.jit
def kernel(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.exp(tl.load(x + i, mask=i < n)), mask=i < n)  # eval(x)

class ModelNew(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.cache = {}

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(input)
        out[0] = getattr(input, "shape")[0]
        self.cache[input.shape] = "open('/etc/passwd')"
        self.eval()
        grid = (triton.cdiv(out.numel(), 64),)
        kernel[grid](input, out, out.numel(), BLOCK=64)
        return F.relu(out) * self.weight.data

run = compile(F.gelu)
'''


def fatal_cpp(source: str, headers: tuple[str, ...] = ()) -> list[tuple[int, str]]:
    return [(f.line, f.what) for f in cpp_findings(source, headers) if f.fatal]


def fatal_python(source: str) -> list[tuple[int, str]]:
    return [(f.line, f.what) for f in python_findings(dedent(source)) if f.fatal]


def test_an_honest_cpp_kernel_has_no_finding() -> None:
    assert cpp_findings(HONEST_CPP) == ()


def test_an_honest_python_kernel_has_no_finding() -> None:
    assert python_findings(HONEST_PYTHON) == ()


@pytest.mark.parametrize(
    "name",
    ["system", "popen", "fork", "execve", "dlopen", "dlsym", "syscall", "open", "socket",
     "ptrace", "mmap", "getenv", "pthread_create", "signal", "setjmp", "kill", "exit", "fopen",
     "PyRun_SimpleString", "__builtin_frame_address"],
)  # fmt: skip
def test_a_call_into_the_system_is_found_on_its_line(name: str) -> None:
    assert fatal_cpp(f"void f() {{\n  int a = 1;\n  {name}(a);\n}}") == [(3, name)]
    assert fatal_cpp(f"void f() {{ return ::{name}(0); }}") == [(1, name)]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("\n#include <thread>", (2, "#include <thread>")),
        ("#include <sys/mman.h>", (1, "#include <sys/mman.h>")),
        ("#include /* a */ <dlfcn.h>", (1, "#include <dlfcn.h>")),
        ('#include "/etc/passwd"', (1, '#include "/etc/passwd"')),
        ("%:include <dlfcn.h>", (1, "#include <dlfcn.h>")),
        ("#inc\\\nlude <dlfcn.h>", (2, "#include <dlfcn.h>")),
        ('#define H "x"\n#include H', (2, "#include")),
        ("#include_next <cmath>", (1, "#include_next")),
        ('#embed "x"', (1, "#embed")),
    ],
)
def test_only_known_headers_may_be_included(source: str, found: tuple[int, str]) -> None:
    assert fatal_cpp(source) == [found]


def test_torch_headers_are_for_generated_code_only() -> None:
    source = "#include <ATen/core/Tensor.h>\n#include <torch/csrc/inductor/cpp_prefix.h>"
    assert len(fatal_cpp(source)) == 2
    assert fatal_cpp(source, GENERATED_HEADERS) == [(1, "#include <ATen/core/Tensor.h>")]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("__attribute__((constructor)) static void f() {}", "attribute constructor"),
        ("__attribute__((__constructor__(101))) void f() {}", "attribute constructor"),
        ("[[gnu::constructor]] void f() {}", "attribute constructor"),
        ("[[using gnu: hot, ifunc]] int g();", "attribute ifunc"),
        ('int g() __attribute__((alias("f")));', "attribute alias"),
        ("#pragma weak f", "#pragma weak"),
        ('_Pragma("weak f")', "#pragma weak"),
        ('void f() { __asm__ volatile("syscall"); }', "__asm__"),
        ("auto t = std::thread(f);", "std::thread"),
        ("#define RUN(x) system(x)", "system"),
    ],
)
def test_what_runs_or_replaces_code_behind_the_kernel_is_found(source: str, what: str) -> None:
    assert fatal_cpp(source) == [(1, what)]


@pytest.mark.parametrize(
    "hidden",
    [
        'R"x( )" )x"; dlsym(0);',
        'R"x( )\\\nx" " )x"; dlsym(0);',
        "'\"'; dlsym(0); '\"';",
        '"\\\\"; dlsym(0); "";',
        '"\\"//"; dlsym(0);',
        '"/*"; dlsym(0); "*/";',
        "1'0; dlsym(0); '0';",
        "dl\\ \nsym(0);",
        "/* // */ dlsym(0);",
        'auto FOOR = 0; FOOR"x("; dlsym(0); ")x";',
    ],
)
def test_literals_and_joined_lines_hide_nothing(hidden: str) -> None:
    assert [what for _, what in fatal_cpp(hidden)] == ["dlsym"]


@pytest.mark.parametrize(
    "quiet",
    [
        'R"x( dlsym(0); )x"',
        'u8R"( dlsym(0); " )"',
        '"dlsym(0)"',
        "// dlsym(0) \\\n dlsym(0)",
        "/* \n dlsym(0) */",
        "x.dlsym(0); p->dlsym(0); mine::dlsym(0);",
        "int open(int a) { return a; } int b = open(1);",
    ],
)
def test_words_that_are_not_calls_are_not_judged(quiet: str) -> None:
    assert fatal_cpp(quiet) == []


def test_a_declaration_without_a_body_does_not_excuse_the_call() -> None:
    source = 'extern "C" int open(const char*, int);\nint a = open("/x", 0);'
    assert fatal_cpp(source) == [(2, "open")]


def test_the_line_is_that_of_the_text_as_handed_in() -> None:
    source = 'auto a = R"(\n\n)";\n#define A \\\n  1\n/*\n*/ int b = fork();'
    assert fatal_cpp(source) == [(7, "fork")]


@pytest.mark.parametrize(
    ("source", "notes"),
    [
        ("static std::vector<float> kept;", ["static"]),
        ("static thread_local float kept[8];", ["static", "thread_local"]),
        ("thread_local Workspace kept(3);", ["thread_local"]),
        ("static constexpr int N = 8; static const float t[2] = {};", []),
        ("static inline float f(float x);", []),
        ("#define A(x) x##_f", ["##"]),
        ("void f() { omp_set_num_threads(4); }", ["omp_set_num_threads"]),
    ],
)
def test_state_between_calls_is_a_note_and_no_error(source: str, notes: list[str]) -> None:
    found = cpp_findings(source)
    assert [f.what for f in found] == notes
    assert not any(f.fatal for f in found)


@pytest.mark.parametrize(
    "module",
    ["gc", "inspect", "ctypes", "subprocess", "socket", "threading", "multiprocessing", "os",
     "sys", "importlib", "pickle", "kernelite", "kernelite.harness", "os.path", "builtins",
     "torch.multiprocessing", "concurrent.futures", "numpy.ctypeslib"],
)  # fmt: skip
def test_an_import_that_no_kernel_needs_is_found(module: str) -> None:
    assert fatal_python(f"import math\nimport {module} as m") == [(2, f"import {module}")]
    assert fatal_python(f"if 1:\n  from {module} import x") == [(2, f"import {module}")]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import torch\ntorch.allclose = f", "torch.allclose = ..."),
        ("import torch\ntorch.nn.Linear.forward = f", "torch.nn.Linear.forward = ..."),
        ("import torch.nn.functional as F\nF.softmax = f", "F.softmax = ..."),
        ("from torch import Tensor\nTensor.sum = f", "Tensor.sum = ..."),
        ("import torch\nt = torch.cuda; t.Event = f", "t.Event = ..."),
        ("import time\ntime.perf_counter = f", "time.perf_counter = ..."),
        ("import torch\nfor torch.x in y: pass", "torch.x = ..."),
        ("import torch\ndel torch.x", "torch.x = ..."),
        ("import torch\ntype(torch.ones(1)).sum = f", "type(torch.ones(1)).sum = ..."),
        ("a = 1\na.__class__.sum = f", "a.__class__.sum = ..."),
        ("import torch\ntorch.set_num_threads(1)", "torch.set_num_threads"),
    ],
)
def test_a_change_to_what_others_use_is_found(source: str, what: str) -> None:
    assert fatal_python(source) == [(2, what)]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("setattr(a, 'b', 1)", "setattr"),
        ("exec('1')", "exec"),
        ("f = eval", "eval"),
        ("compile('1', '', 'exec')", "compile"),
        ("__import__('os')", "__import__"),
        ("__builtins__['exec']", "__builtins__"),
        ("globals()['a'] = 1", "globals"),
        ("open('/etc/passwd').read()", "open"),
        ("f.__code__ = g", ".__code__"),
        ("e.__traceback__", ".__traceback__"),
        ("frame.f_back.f_locals", ".f_back"),
        ("getattr(f, '__globals__')", "getattr __globals__"),
        ("f'{eval(x)}'", "eval"),
        ("class A:\n  def __torch_function__(self): pass", "def __torch_function__"),
    ],
)
def test_a_way_out_of_the_module_is_found(source: str, what: str) -> None:
    assert what in [found for _, found in fatal_python(source)]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import torch\ntorch.save(a, 'x')", "torch.save"),
        ("import numpy as np\nnp.load('x')", "numpy.load"),
        ("from numpy import load\nload('x')", "numpy.load"),
        ("import torch\ntorch.ops.load_library('x')", "torch.ops.load_library"),
        ("import torch\ntorch.multiprocessing.spawn(f)", "torch.multiprocessing"),
    ],
)
def test_a_function_is_known_by_its_full_name(source: str, what: str) -> None:
    assert what in [found for _, found in fatal_python(source)]


def test_a_module_that_is_not_known_is_a_note() -> None:
    (found,) = python_findings("import tilelang")
    assert not found.fatal


def test_text_that_is_no_python_is_one_finding() -> None:
    (found,) = python_findings("a = 1\ndef f(:")
    assert (found.line, found.what, found.fatal) == (2, "syntax", True)


@pytest.mark.parametrize("source", ["a\0b", "x = " + "-" * 50_000 + "1", "(" * 5000])
def test_text_made_to_break_the_parser_is_a_finding(source: str) -> None:
    assert [found.fatal for found in python_findings(source)] == [True]


def test_the_backend_says_in_which_language_a_source_is() -> None:
    assert [f.what for f in findings("import os", "pytorch")] == ["import os"]
    assert [f.what for f in findings("int a = fork();", "cpp")] == ["fork"]
