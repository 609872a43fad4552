"""What is found in the C++ that a Python source hands to ``load_inline``."""

from __future__ import annotations

import pytest

from kernelite.harness.sources import findings

EXTENSION = '''
import torch
from torch.utils.cpp_extension import load_inline
TEXT = """
#include <torch/extension.h>
torch::Tensor run(torch::Tensor x) {{
  {body}
}}
"""
extension = load_inline("own", {text}, functions=["run"], extra_cflags={flags})
'''


def of_extension(
    body: str = "return torch::empty_like(x);", text: str = "TEXT", flags: str = "[]"
) -> list[tuple[int, str]]:
    source = EXTENSION.format(body=body, text=text, flags=flags)
    return [(f.line, f.what) for f in findings(source, "pytorch") if f.fatal]


def test_an_extension_in_cpp_is_read_too() -> None:
    assert of_extension() == []
    assert of_extension(text="[TEXT]", flags='["-O3", "-march=native", "-fopenmp"]') == []
    assert of_extension('std::string s = "fork()"; return x + 1;  // system()') == []


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("fork();", "fork"),
        ("std::thread t(run);", "std::thread"),
        ("return at::native::softmax(x);", "at::native"),
        ("return at::cpu::softmax(x, 1);", "at::cpu"),
        ("return at::_ops::relu::redispatch(keys, x);", "at::_ops"),
        ("c10::impl::ExcludeDispatchKeyGuard g(keys);", "impl::ExcludeDispatchKeyGuard"),
        ('py::module_::import("os");', None),
        ('py::exec("x");', "py::exec"),
        ("at::globalContext().setFloat32MatmulPrecision(p);", "at::globalContext"),
        ("TORCH_LIBRARY_IMPL(aten, CPU, m) {}", "TORCH_LIBRARY_IMPL"),
    ],
)
def test_what_an_extension_may_not_do_is_found_on_its_line(body: str, what: str | None) -> None:
    assert (7, what or "module_::import") in of_extension(body)


@pytest.mark.parametrize(
    "text", ["TEXT.replace('a', 'b')", "open('x').read()", "TEXT + name", "f'{TEXT}'", "*texts"]
)
def test_an_extension_whose_text_is_computed_is_refused(text: str) -> None:
    assert of_extension(text=text)


@pytest.mark.parametrize(
    "flags",
    ["['-Dexp=fork']", "['-include', '/etc/passwd']", "['-fplugin=x']", "['-ldl']", "flags()"],
)
def test_flags_that_change_what_is_compiled_are_refused(flags: str) -> None:
    assert of_extension(flags=flags)


def test_load_inline_under_another_name_is_refused() -> None:
    source = "from torch.utils import cpp_extension as c\nf = c.load_inline\nf('a', text)\n"
    assert (2, "load_inline") in [(f.line, f.what) for f in findings(source, "pytorch") if f.fatal]
