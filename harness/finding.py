"""What a look at a source can find."""

from __future__ import annotations

from dataclasses import dataclass

LEAVES = "takes numbers out of PyTorch, where no operator shows what becomes of them"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place in a source.

    Attributes:
        line: Counted from 1, in the text as it was handed in.
        what: The words of the source that are meant.
        why: What is wrong with them, or what the reader should know.
        fatal: Whether a kernel with this is refused; otherwise it is a note.
    """

    line: int
    what: str
    why: str
    fatal: bool

    @property
    def hides_work(self) -> bool:
        """Whether a trace of operators would miss what happens here."""
        return self.why == LEAVES
