"""The trunk on a CPU: packed tokens to dense vectors and hidden states, by one of several engines.

``trunk.py`` groups texts by length and feeds an engine within a token budget; ``engine.py`` says
what an engine is; ``onnx_engine.py`` and ``openvino_engine.py`` run the same exported graph;
``choice.py`` chooses between them by what the processor has.
"""

from bgem3_backend.trunk.trunk import Trunk, TrunkOutput

__all__ = ["Trunk", "TrunkOutput"]
