"""Cross entropy on the CPU straight from logits, without the log-softmax in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.launch import Launch
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.templates._cross_entropy_match import Loss, loss
from kernelite.kernels.templates._match import argument
from kernelite.kernels.templates._match_layout import index, literal
from kernelite.kernels.templates._match_source import layouts

BODY = Path(__file__).with_name("_cross_entropy.h")
PARALLEL_ELEMENTS = 1 << 15  # below it, waking the threads costs more than they save


@dataclass(frozen=True, slots=True)
class CrossEntropyPlan:
    """A graph that is one cross entropy; see `kernels.templates.Plan`."""

    loss: Loss
    layouts: Mapping[str, tuple[int, ...]]

    @property
    def label(self) -> str:
        """``cross_entropy`` with its reduction."""
        if not self.loss.reduces:
            return "cross_entropy (none)"
        return f"cross_entropy ({'mean' if self.loss.divides_by_kept else 'sum'})"

    @property
    def space(self) -> Mapping[str, tuple[Choice, ...]]:
        """Passes over a row, or rows side by side where classes lie apart; classes per chunk."""
        chunks = tuple(n for n in (1024, 4096, 256) if n < 2 * self.loss.logits.layout.shape[1])
        if self._inner > 1:
            return {"positions": (64, 128, 256, 32)}
        return {"passes": ("one", "two"), "chunk": chunks or (256,)}

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        launch = Launch("cross_entropy", (argument(self.loss.logits.root),
                        argument(self.loss.labels.root), "out0"), self.layouts)  # fmt: skip
        head = '#include <algorithm>\n#include <vector>\n#include "prelude.h"\n'
        parts = [launch.as_comment(), head, self._constants(choices), BODY.read_text()]
        return Kernel("cpp", "\n".join(parts))

    @property
    def _inner(self) -> int:
        """How many rows lie side by side where the classes of one row do not; else 1."""
        rows = self.loss.logits.layout.dims[0]
        apart = self.loss.logits.layout.step(1) != 1
        return rows[-1][0] if rows and rows[-1][1] == 1 and apart else 1

    def _constants(self, choices: Choices) -> str:
        loss, (rows, classes) = self.loss, self.loss.logits.layout.shape
        numbers = {
            "ROWS": rows, "CLASSES": classes, "STEP": loss.logits.layout.step(1),
            "INNER": self._inner, "POSITIONS": choices.get("positions", 1),
            "CHUNK": min(classes, int(choices.get("chunk", 256))), "IGNORED": loss.ignored or 0,
        }  # fmt: skip
        flags = {
            "REDUCES": loss.reduces, "DIVIDES_BY_KEPT": loss.divides_by_kept,
            "IGNORES": loss.ignored is not None, "WRAPS": loss.wraps,
            "ONLINE": choices.get("passes") == "one",
            "PARALLEL": rows * classes >= PARALLEL_ELEMENTS,
        }  # fmt: skip
        lines = [f"using Label = {loss.labels.c_type};"]
        lines += [f"constexpr long {name} = {value};" for name, value in numbers.items()]
        lines += [f"constexpr bool {k} = {str(v).lower()};" for k, v in flags.items()]
        lines += [f"constexpr float SCALE = {literal(loss.logits.scale)};",
                  f"constexpr double OUT_SCALE = {loss.scale!r};"]  # fmt: skip
        places = {"logits": loss.logits.layout, "label": loss.labels.layout}
        for name, layout in places.items():
            place = f"{layout.offset}l + {index(layout.dims[0], 'i')}"
            lines.append(f"KL_INLINE long at_{name}(long i) {{ return {place}; }}")
        return "\n".join(lines) + "\n"


class CrossEntropyTemplate:
    """Log-sum-exp and the label's logit in one or two passes over each row."""

    def match(self, graph: fx.GraphModule) -> CrossEntropyPlan | None:
        """A plan if the graph is one float32 cross entropy over its arguments."""
        found = loss(graph)
        return None if found is None else CrossEntropyPlan(found, layouts(graph))


TEMPLATE = CrossEntropyTemplate()
