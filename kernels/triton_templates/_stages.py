"""A graph as matrix products one after another, each with what follows element by element."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from torch import fx

from kernelite.kernels.loops.ir import Unsupported
from kernelite.kernels.matching.behind import behind
from kernelite.kernels.matching.layout import Layout
from kernelite.kernels.matching.nodes import argument, fields, is_view, op, shape_of
from kernelite.kernels.matching.product import Product, product
from kernelite.kernels.matching.source import declared_stride, row_major, source
from kernelite.kernels.triton_templates._epilogue import Epilogue, epilogue
from kernelite.kernels.triton_templates._views import viewed

COPIES = ("clone", "contiguous", "to", "_to_copy", "type_as", "detach", "alias")


@dataclass(frozen=True, slots=True)
class Stage:
    """One launch: products of one left operand, and what is made of their elements.

    Attributes:
        node: What it computes, row-major.
        left, rights: Host code of the operands, (batch, M, K) and (batch, K, N).
        reads: Names of what the operands are views of.
        shape: (batch, M, N).
        inner: K.
    """

    node: fx.Node
    left: str
    rights: tuple[str, ...]
    reads: tuple[str, ...]
    shape: tuple[int, int, int]
    inner: int
    epilogue: Epilogue


@dataclass(frozen=True, slots=True)
class Operand:
    """``scale`` times a view of what ``run`` has a name for."""

    root: fx.Node
    layout: Layout
    scale: float


@dataclass(slots=True)
class Reader:
    """Reads stages; each is found after those that it needs.

    Attributes:
        names: What ``run`` calls the arguments and the results of stages.
    """

    names: dict[fx.Node, str]
    stages: list[Stage] = field(default_factory=list)

    @classmethod
    def of(cls, graph: fx.GraphModule) -> Reader:
        """One that knows the arguments of a graph."""
        nodes = graph.graph.find_nodes(op="placeholder", sort=True)
        return cls({node: argument(node) for node in nodes})

    def read(self, node: fx.Node) -> None:
        """Add the stages that compute ``node``.

        Raises:
            Unsupported: it is no product, or something else as well.
        """
        if node in self.names or self._sum(node):
            return
        if declared_stride(node) != row_major(shape_of(node)):
            raise Unsupported("a result that is not row-major")
        found = self._products(node)
        lefts = [self._operand(own.left) for own in found.values()]
        rights = [self._operand(own.right) for own in found.values()]
        if len({own.left for own in found.values()}) != 1 or len(found) > 2:
            raise Unsupported("products of several left operands")
        self._add(node, found, lefts[0], rights)

    def _sum(self, node: fx.Node) -> bool:
        """Add a sum over all rows of an argument, which is a product with ones, if it is one."""
        if op(node) != "sum" or not shape_of(node):
            return False
        named = fields(node)
        of, read = named["self"], source(named["self"])
        shape, axes = shape_of(of), named.get("dim")
        rows, rank = prod(shape[:-1]), len(shape)
        if read is None or not read.is_float or read.root not in self.names or axes is None:
            return False
        flat = read.layout.regrouped((rows, shape[-1]))
        if {axis % rank for axis in axes} != set(range(rank - 1)) or rank < 2 or flat is None:
            return False
        matrix = self._text(Operand(read.root, flat, 1.0), Layout(((), *flat.dims), flat.offset))
        name, scale = self.names[read.root], "" if read.scale == 1 else f" * {read.scale!r}"
        one = f"torch.ones((1, 1, 1), dtype={name}.dtype, device={name}.device)"
        ones = f"{one}.expand(1, 1, {matrix}.shape[1])"
        own = Epilogue(f"    return products[0]{scale}\n", (), 1)
        self._keep(Stage(node, ones, (matrix,), (name, name), (1, 1, shape[-1]), rows, own))
        return True

    def _keep(self, stage: Stage) -> None:
        self.names[stage.node] = f"result{len(self.stages)}"
        self.stages.append(stage)

    def _products(self, node: fx.Node) -> dict[fx.Node, Product]:
        """The last products on the way to ``node``, in the graph's order."""
        found, seen, ahead = dict[fx.Node, Product](), {node}, [node]
        while ahead:
            here = ahead.pop()
            if here in self.names:
                continue
            if (own := product(here)) is not None:
                found[here] = own
            next_ones = [own.offset] if own and own.offset else [] if own else here.all_input_nodes
            ahead += [each for each in next_ones if each not in seen]
            seen.update(next_ones)
        if not found or not all(own.is_ordered for own in found.values()):
            raise Unsupported("no product")
        return {each: found[each] for each in sorted(found)}

    def _operand(self, node: fx.Node) -> Operand:
        """What an operand is a view of, computed before if it must be."""
        base = node
        while base not in self.names and (is_view(base) or op(base) in COPIES):
            base = base.all_input_nodes[0]
        if source(node) is None:
            self.read(base)
        roots = {each: Layout.strided(shape_of(each), declared_stride(each)) for each in self.names}
        found = source(node, roots)
        if found is None or not found.is_float:
            raise Unsupported("an operand that is computed")
        return Operand(found.root, found.layout, found.scale)

    def _add(
        self, node: fx.Node, found: dict[fx.Node, Product], left: Operand, rights: list[Operand]
    ) -> None:  # fmt: skip
        products = {each: replace(own, scale=own.scale * left.scale * right.scale)
                    for (each, own), right in zip(found.items(), rights, strict=True)}  # fmt: skip
        first = next(iter(products.values()))
        texts, batch, rows = self._arranged(list(products.values()), left, rights)
        shape = batch, rows, first.columns
        if prod(shape_of(node)) != prod(shape):
            raise Unsupported("a result of another size")
        part = behind(node, self.names, products)
        own = epilogue(part, shape, {name: each for each, name in self.names.items()})
        reads = tuple(self.names[operand.root] for operand in (left, *rights))
        self._keep(Stage(node, texts[0], texts[1:], reads, shape, first.inner, own))

    def _arranged(
        self, products: list[Product], left: Operand, rights: list[Operand]
    ) -> tuple[tuple[str, ...], int, int]:  # fmt: skip
        """The text of each operand with three axes, the batch, and M."""
        first, batch = products[0], prod(products[0].lead)
        if any(own.lead != first.lead or own.columns != first.columns for own in products):
            raise Unsupported("products of several shapes")
        found = [first.left_layout(left.layout)]
        found += [p.right_layout(right.layout) for p, right in zip(products, rights, strict=True)]
        layouts = [layout for layout in found if layout is not None]
        if len(layouts) < len(found):
            raise Unsupported("an operand that no strides describe")
        rows = first.rows
        if not any(_moves(layout) for layout in layouts[1:]):
            flat = layouts[0].regrouped((batch * rows, first.inner))
            if flat is not None and flat.step(0) is not None:
                layouts[0] = Layout(((), *flat.dims), flat.offset)
                batch, rows = 1, batch * rows
        return tuple(map(self._text, (left, *rights), layouts)), batch, rows

    def _text(self, operand: Operand, layout: Layout) -> str:
        if None in map(layout.step, range(3)):
            raise Unsupported("an operand that no strides describe")
        single = not _moves(layout)
        seen = Layout(layout.dims[1:], layout.offset) if single else layout
        text = viewed(self.names[operand.root], operand.root, seen)
        return f"{text}[None]" if single else text


def _moves(layout: Layout) -> bool:
    """Whether the batches of an operand differ."""
    return any(step for _, step in layout.dims[0])
