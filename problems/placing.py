"""A flat graph for another device than the one that it was traced on."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.fx.node import map_aggregate


def place(module: fx.GraphModule, device: str) -> None:
    """Have the graph make its tensors on ``device``, and its constants be there.

    What it is fed must be there too.  Constants without contents have none there either.
    """
    home = torch.device(device)

    def here(value: Any) -> Any:
        return home if isinstance(value, torch.device) else value

    for node in module.graph.nodes:
        node.args = map_aggregate(node.args, here)
        node.kwargs = map_aggregate(node.kwargs, here)
    for name, constant in list(module.named_buffers()):
        if not constant.is_meta:
            module.register_buffer(name, constant.to(home))
    module.recompile()
