"""A run of a graph by ONNX Runtime, as far as memory goes: what is allocated and freed, and when.

After ``onnxruntime/core/framework/allocation_planner.cc``. An output takes the buffer of an input
that nobody needs any more where the kernel allows it, else that of any dead value of the same
shape, else new memory. Shapes are the same only where that is known when the graph is loaded. A
buffer is freed behind the last node that uses it in any of its roles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bgem3_export.planning.arena import Arena, Chunk
from bgem3_export.planning.graph_shapes import ShapedGraph, ShapedNode, TensorType
from bgem3_export.planning.workspaces import Processor, Provider, workspace_bytes

# These give their first input on, in another shape.
_ALIASES: Final = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
# The inputs that these may write over; ``MayInplace`` in the definitions of the kernels.
_IN_PLACE: Final[Mapping[str, tuple[int, ...]]] = {
    "Add": (0, 1),
    "Div": (0, 1),
    "Gelu": (0,),
    "Mul": (0, 1),
    "Sub": (0, 1),
}


@dataclass(frozen=True)
class Peak:
    """The most that runs have taken.

    Attributes:
        live_bytes: Of all that was alive at one moment.
        live_at: The value whose making was that moment.
    """

    live_bytes: int
    live_at: str


class Runner:
    """Runs graphs on one arena."""

    def __init__(self, arena: Arena, provider: Provider, processor: Processor) -> None:
        self.arena = arena
        self.provider = provider
        self.processor = processor
        self._live_bytes = 0
        self._peak = Peak(0, "")

    def run(self, graph: ShapedGraph) -> Peak:
        """Run a graph once, and return the peak of all runs so far."""
        frame = _Frame(self, graph, graph.nodes, graph.outputs)
        for buffer in frame.run():
            self.free(buffer)
        return self._peak

    def allocate(self, size_bytes: int, name: str) -> Buffer:
        """Make a buffer for a value."""
        self._live_bytes += size_bytes
        if self._live_bytes > self._peak.live_bytes:
            self._peak = Peak(self._live_bytes, name)
        return Buffer(size_bytes, self.arena.allocate(size_bytes))

    def free(self, buffer: Buffer) -> None:
        """Free a buffer."""
        self._live_bytes -= buffer.size_bytes
        if buffer.chunk is not None:
            self.arena.free(buffer.chunk)


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory of a value; ``chunk`` is None for an empty one."""

    size_bytes: int
    chunk: Chunk | None


class _Frame:
    """The nodes of a graph, or of a branch, with their buffers."""

    def __init__(
        self,
        runner: Runner,
        graph: ShapedGraph,
        nodes: Sequence[ShapedNode],
        outputs: Sequence[str],
    ) -> None:
        self._runner = runner
        self._graph = graph
        self._nodes = nodes
        self._outputs = frozenset(outputs)
        self._owner = _share_buffers(graph, nodes, self._outputs)
        self._buffers: dict[str, Buffer] = {}

    def run(self, elsewhere: Mapping[str, Callable[[], None]] | None = None) -> Iterator[Buffer]:
        """Run the nodes, and yield the buffers that are left at the end.

        Args:
            elsewhere: Makes those outputs that have their buffers in the frame around this one.
        """
        make_outside = elsewhere or {}
        frees = self._last_uses()
        for number, node in enumerate(self._nodes):
            if node.branch:
                self._run_branch(node)
            else:
                for name in filter(None, node.outputs):
                    if name in make_outside:
                        make_outside[name]()
                    else:
                        self._make(name)
                self._use_workspace(node)
            for owner in frees[number]:
                self._runner.free(self._buffers.pop(owner))
        yield from self._buffers.values()
        self._buffers.clear()

    def _run_branch(self, node: ShapedNode) -> None:
        def maker(name: str) -> Callable[[], None]:
            return lambda: self._make(name)

        branch = _Frame(self._runner, self._graph, node.branch, node.branch_outputs)
        names = zip(node.branch_outputs, node.outputs, strict=True)
        for buffer in branch.run({inner: maker(outer) for inner, outer in names}):
            self._runner.free(buffer)

    def _make(self, name: str) -> None:
        owner = self._owner.get(name)
        if owner is not None and owner not in self._buffers:
            size_bytes = self._graph.types[name].size_bytes
            self._buffers[owner] = self._runner.allocate(size_bytes, name)

    def _use_workspace(self, node: ShapedNode) -> None:
        runner = self._runner
        sizes = workspace_bytes(node, self._graph.types, runner.provider, runner.processor)
        for buffer in reversed([runner.allocate(size, node.outputs[0]) for size in sizes]):
            runner.free(buffer)

    def _last_uses(self) -> Mapping[int, list[str]]:
        """Return which buffers are freed behind which node; outputs never are."""
        last: dict[str, int] = {}
        for number, node in enumerate(self._nodes):
            for name in (*node.inputs, *node.outer_inputs, *node.outputs):
                owner = self._owner.get(name)
                if owner is not None:
                    last[owner] = number
        kept = {self._owner[name] for name in self._outputs}
        frees: defaultdict[int, list[str]] = defaultdict(list)
        for owner, number in last.items():
            if owner not in kept:
                frees[number].append(owner)
        return frees


def _share_buffers(
    graph: ShapedGraph, nodes: Sequence[ShapedNode], outputs: frozenset[str]
) -> dict[str, str]:
    """Return the value in whose buffer each value is; those from outside are left out."""
    uses: defaultdict[str, int] = defaultdict(int)
    products = {node.outputs[0] for node in nodes if node.operator == "MatMul"}
    for node in nodes:
        for name in (*node.inputs, *node.outer_inputs):
            uses[name] += 1
    for name in outputs:
        uses[name] += 1

    owner: dict[str, str] = {}
    left: dict[str, int] = {}  # of the uses of each buffer
    # Buffers that nobody needs, the latest first, by what they may be used for again.
    dead: defaultdict[TensorType | None, list[str]] = defaultdict(list)

    def reusable(node: ShapedNode, name: str) -> str | None:
        if name in outputs:
            return None
        if node.operator == "Add" and uses[node.inputs[0]] == 1 and node.inputs[0] in products:
            # ONNX Runtime makes one operator of the two (MatMulAddFusion).
            return owner[node.inputs[0]]
        for number in _IN_PLACE.get(node.operator, ()):
            source = owner.get(node.inputs[number])
            if source is not None and left[source] == 1 and _same_size(graph, source, name):
                return source
        kind = graph.load_types.get(name)
        return next(iter(dead[kind]), None) if kind is not None and kind.is_known else None

    for node in nodes:
        for name in filter(None, node.outputs):
            if node.operator in _ALIASES and name not in outputs:
                if node.inputs[0] not in owner:
                    continue
                source: str | None = owner[node.inputs[0]]
            else:
                source = reusable(node, name)
            if source is None:
                owner[name], left[name] = name, uses[name]
            else:
                owner[name] = source
                left[source] += uses[name]
                alike = dead[graph.load_types.get(source)]
                if source in alike:
                    alike.remove(source)
        for name in (*node.inputs, *node.outer_inputs):
            if name in owner:
                left[owner[name]] -= 1
                if left[owner[name]] == 0:
                    dead[graph.load_types.get(owner[name])].insert(0, owner[name])
    return owner


def _same_size(graph: ShapedGraph, one: str, other: str) -> bool:
    first, second = graph.load_types.get(one), graph.load_types.get(other)
    return first is not None and first == second and first.is_known
