"""Cross entropy on the CPU straight from logits, without the log-softmax in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.launch import Launch
from kernelite.kernels.matching.cross_entropy import Loss, loss
from kernelite.kernels.matching.layout import index, literal
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.source import layouts
from kernelite.kernels.templates import Choice, Choices

BODY = Path(__file__).with_name("_cross_entropy.h")
FEW_CLASSES = 64  # more of them fill a vector well enough
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
        """What goes in the lanes; then rows per block, or passes over a row and their chunks."""
        apart, classes = self.loss.logits.layout.step(1) != 1, self.loss.logits.layout.shape[1]
        blocks: dict[str, tuple[Choice, ...]] = {"block": (64, 128, 256, 32)}
        if apart and self._run[1] == 1:
            return blocks
        if classes <= FEW_CLASSES and self._run[0] > 1:
            return {"lanes": ("rows", "classes"), **blocks}
        return {"passes": ("one", "two"), "chunk": (512, 1024, 256)}

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        launch = Launch("cross_entropy", (argument(self.loss.logits.root),
                        argument(self.loss.labels.root), "out0"), self.layouts)  # fmt: skip
        parts = [
            launch.as_comment(),
            '#include "prelude.h"',
            self._constants(choices),
            BODY.read_text(),
        ]
        return Kernel("cpp", "\n".join(parts))

    @property
    def _run(self) -> tuple[int, int]:
        """How many rows lie at one distance from each other, and that distance."""
        rows = self.loss.logits.layout.dims[0]
        return rows[-1] if rows else (1, 0)

    def _constants(self, choices: Choices) -> str:
        loss, (rows, classes) = self.loss, self.loss.logits.layout.shape
        numbers = {
            "ROWS": rows, "CLASSES": classes, "STEP": loss.logits.layout.step(1),
            "INNER": self._run[0], "RUN": self._run[1], "POSITIONS": choices.get("block", 64),
            "CHUNK": min(classes, int(choices.get("chunk", 256))), "IGNORED": loss.ignored or 0,
        }  # fmt: skip
        flags = {
            "REDUCES": loss.reduces, "DIVIDES_BY_KEPT": loss.divides_by_kept,
            "IGNORES": loss.ignored is not None, "WRAPS": loss.wraps,
            "ROWS_IN_LANES": "block" in choices and choices.get("lanes") != "classes",
            "ONLINE": choices.get("passes", "one") == "one",
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
