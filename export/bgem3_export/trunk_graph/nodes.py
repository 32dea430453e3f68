"""A list of nodes under construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import onnx
from onnx import helper

MICROSOFT_DOMAIN: Final = "com.microsoft"


class Nodes:
    """Nodes in the order of their making: each call appends one and returns its output's name."""

    def __init__(self, prefix: str) -> None:
        """Begin an empty list.

        Args:
            prefix: Begins the names of nodes that are given none.
        """
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = prefix

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        name: str | None = None,
        outputs: int = 1,
        domain: str = "",
        **attributes: Any,  # noqa: ANN401 - what a node takes depends on its operator
    ) -> list[str]:
        """Append a node with several outputs and return their names."""
        base = name or f"{self._prefix}{operator}_{len(self.nodes)}"
        names = [base] if outputs == 1 else [f"{base}_{index}" for index in range(outputs)]
        self.nodes.append(
            helper.make_node(operator, inputs, names, name=base, domain=domain, **attributes)
        )
        return names

    def __call__(self, operator: str, *inputs: str, **options: object) -> str:
        """Append a node with one output and return its name."""
        return self.add(operator, inputs, **options)[0]  # type: ignore[arg-type]

    def rename_last(self, output: str, name: str) -> str:
        """Give the output of the node that was appended last another name, and return it."""
        assert self.nodes[-1].output == [output]
        self.nodes[-1].output[0] = name
        return name
