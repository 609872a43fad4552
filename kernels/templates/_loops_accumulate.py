"""One reduction over the columns, as C++ accumulators."""

from __future__ import annotations

from kernelite.kernels.templates._loops_body import literal
from kernelite.kernels.templates._loops_ir import Node

UPDATE = {"sum": "{0} += {1};", "prod": "{0} *= {1};", "any": "{0} |= {1};", "all": "{0} &= {1};",
          "max": "{0} = {1} > {0} ? {1} : {0};", "min": "{0} = {1} < {0} ? {1} : {0};"}  # fmt: skip
JOIN = {"sum": "{0} + {1}", "prod": "{0} * {1}", "any": "{0} | {1}", "all": "{0} & {1}",
        "max": "kl_max({0}, {1})", "min": "kl_min({0}, {1})"}  # fmt: skip
CLAUSE = {"sum": "+", "prod": "*", "any": "|", "all": "&", "max": "max", "min": "min"}


class Accumulator:
    """The variables of one reduction.

    Args:
        node: The reduction.
        name: Variable that holds the result.
        lanes: How many partial results there are.
        chunked: Whether float sums are folded into a double from time to time.
    """

    def __init__(self, node: Node, name: str, lanes: int, chunked: bool) -> None:
        self.node, self.name = node, name
        self.op = "max" if node.op == "top" else node.op
        self.dtype = "int" if self.op in ("any", "all") else node.dtype
        floating = node.dtype in ("float", "double")
        self.finds_nan = node.op in ("max", "min") and floating
        self.repeats = self.op in ("max", "min")
        self.folds = chunked and self.op == "sum" and node.dtype == "float"
        self.parts = [f"{name}_{lane}" for lane in range(lanes)]

    def declared(self) -> list[str]:
        """Declarations in front of all loops."""
        found = [f"double {self.name}_total = 0;"] if self.folds else self._parts()
        return [*found, f"int {self.name}_nan = 0;"] if self.finds_nan else found

    def declared_in_chunk(self) -> list[str]:
        """Declarations in front of the loop over one chunk."""
        return self._parts() if self.folds else []

    def _parts(self) -> list[str]:
        start = self._start()
        return [f"{self.dtype} {', '.join(f'{part} = {start}' for part in self.parts)};"]

    def _start(self) -> str:
        match self.op:
            case "sum" | "any":
                return literal(0.0, self.dtype) if self.dtype != "int64_t" else "0"
            case "prod" | "all":
                return "1"
        if self.dtype in ("float", "double"):
            return literal(float("-inf" if self.op == "max" else "inf"), self.dtype)
        limit = "lowest" if self.op == "max" else "max"
        return f"std::numeric_limits<{self.dtype}>::{limit}()"

    def clauses(self, lanes: int) -> str:
        """OpenMP's reduction clauses of a loop that updates the first ``lanes`` parts."""
        found = f" reduction({CLAUSE[self.op]} : {', '.join(self.parts[:lanes])})"
        return f"{found} reduction(| : {self.name}_nan)" if self.finds_nan else found

    def updates(self, value: str, lane: int) -> list[str]:
        """Statements that take in one value."""
        found = [UPDATE[self.op].format(self.parts[lane], value)]
        return [*found, f"{self.name}_nan |= {value} != {value};"] if self.finds_nan else found

    def folded(self) -> list[str]:
        """Statements behind the loop over one chunk."""
        return [f"{self.name}_total += {self._joined()};"] if self.folds else []

    def result(self) -> list[str]:
        """The definition of the result, behind all loops."""
        text = f"static_cast<float>({self.name}_total)" if self.folds else self._joined()
        if self.finds_nan:
            text = f"{self.name}_nan ? {literal(float('nan'), self.dtype)} : {text}"
        return [f"const {self.node.dtype} {self.name} = {text};"]

    def _joined(self) -> str:
        parts = list(self.parts)
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [f"({JOIN[self.op].format(a, b)})" for a, b in pairs]
        return parts[0]
