"""One reduction over the columns, as C++: one partial result per lane, folded at the end."""

from __future__ import annotations

from kernelite.kernels.cpp_templates._loops_body import literal
from kernelite.kernels.loops.ir import Node

UPDATE = {"sum": "{0} += {1};", "prod": "{0} *= {1};", "any": "{0} |= {1};", "all": "{0} &= {1};",
          "max": "{0} = {1} > {0} ? {1} : {0};", "min": "{0} = {1} < {0} ? {1} : {0};"}  # fmt: skip
FOLD = {"sum": "kl_sum", "prod": "kl_product", "any": "kl_any", "all": "kl_all",
        "max": "kl_highest", "min": "kl_lowest"}  # fmt: skip


class Accumulator:
    """The variables of one reduction.

    Args:
        node: The reduction.
        name: Variable that holds the result.
        lanes: How many partial results there are, a power of two.
        chunked: Whether float sums are folded into a double from time to time.
    """

    def __init__(self, node: Node, name: str, lanes: int, chunked: bool) -> None:
        self.node, self.name, self.lanes = node, name, lanes
        self.op = "max" if node.op == "top" else node.op
        self.dtype = "int" if self.op in ("any", "all") else node.dtype
        self.finds_nan = node.op in ("max", "min") and node.dtype in ("float", "double")
        self.repeats = self.op in ("max", "min")
        self.folds = chunked and self.op == "sum" and node.dtype == "float"

    def declared(self) -> list[str]:
        """Declarations in front of all loops."""
        found = [f"double {self.name}_total = 0;"] if self.folds else self._array()
        if self.finds_nan:
            found.append(f"alignas(64) int {self.name}_nan[{self.lanes}] = {{}};")
        return found

    def declared_in_chunk(self) -> list[str]:
        """Declarations in front of the loop over one chunk."""
        return self._array() if self.folds else []

    def _array(self) -> list[str]:
        array = f"alignas(64) {self.dtype} {self.name}_lanes[{self.lanes}]"
        if self.op in ("sum", "any"):
            return [f"{array} = {{}};"]
        return [f"{array};", f"for (auto& lane : {self.name}_lanes) lane = {self._start()};"]

    def _start(self) -> str:
        if self.op in ("prod", "all"):
            return "1"
        if self.dtype in ("float", "double"):
            return literal(float("-inf" if self.op == "max" else "inf"), self.dtype)
        bits = "64" if self.dtype == "int64_t" else "32"
        return f"INT{bits}_{'MIN' if self.op == 'max' else 'MAX'}"

    def updates(self, value: str) -> list[str]:
        """Statements that take one value into lane ``l``."""
        found = [UPDATE[self.op].format(f"{self.name}_lanes[l]", value)]
        return [*found, f"{self.name}_nan[l] |= {value} != {value};"] if self.finds_nan else found

    def folded(self) -> list[str]:
        """Statements behind the loop over one chunk."""
        return [f"{self.name}_total += {self._fold()};"] if self.folds else []

    def result(self) -> list[str]:
        """The definition of the result, behind all loops."""
        text = f"static_cast<float>({self.name}_total)" if self.folds else self._fold()
        if self.finds_nan:
            nan = literal(float("nan"), self.dtype)
            text = f"kl_any({self.name}_nan) ? {nan} : {text}"
        return [f"const {self.node.dtype} {self.name} = {text};"]

    def _fold(self) -> str:
        return f"{FOLD[self.op]}({self.name}_lanes)"
