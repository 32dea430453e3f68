"""As much of NVIDIA's ``tensorrt`` package as the exporter calls, without a GPU.

The "engine" is a text of all that decides what TensorRT would build, so tests read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import ModuleType

import onnx


class NetworkDefinitionCreationFlag(IntEnum):
    """Of ``create_network``."""

    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    """Of a builder's configuration."""

    TF32 = 7


class Logger:
    """Takes the least severity that is told."""

    WARNING = 2

    def __init__(self, severity: int) -> None:
        self.severity = severity


@dataclass
class Network:
    """What the parser fills."""

    flags: int
    inputs: list[str] = field(default_factory=list)


@dataclass
class Profile:
    """Ranges by input."""

    shapes: dict[str, tuple] = field(default_factory=dict)

    def set_shape(self, name: str, smallest: tuple, usual: tuple, largest: tuple) -> None:
        """Remember a range, as TensorRT takes it: three shapes."""
        assert smallest <= usual <= largest
        self.shapes[name] = (smallest, usual, largest)


class TimingCache:
    """Grows with every build."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytearray:
        """Return it, as a buffer."""
        return bytearray(self.content)


class Config:
    """A builder's configuration."""

    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[Profile] = []
        self.cache: TimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        """Clear a flag that is set by default."""
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        """Add a profile and return its number."""
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> TimingCache:
        """Return a cache that begins with what an earlier build left."""
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        """Take a cache that was made on the same GPU."""
        assert not ignore_mismatch
        if cache.content.startswith(b"elsewhere"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        """Return the cache, with what the build added."""
        return self.cache


class FakeTensorRT(ModuleType):
    """The module; what a test wants to go wrong is set on it.

    Attributes:
        problems: What the parser says about the graph.
        fails: Whether no engine can be built.
        builds: How many were.
    """

    def __init__(self, version: str = "10.15.1.29") -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.problems: list[str] = []
        self.fails = False
        self.builds = 0
        self.NetworkDefinitionCreationFlag = NetworkDefinitionCreationFlag
        self.BuilderFlag = BuilderFlag
        self.Logger = Logger

    def Builder(self, logger: Logger) -> Builder:  # noqa: N802 - NVIDIA's name
        """Return a builder."""
        return Builder(self, logger)

    def OnnxParser(self, network: Network, logger: Logger) -> OnnxParser:  # noqa: N802
        """Return a parser."""
        return OnnxParser(self, network)


class Builder:
    """Builds a text."""

    def __init__(self, tensorrt: FakeTensorRT, logger: Logger) -> None:
        self._tensorrt = tensorrt

    def create_network(self, flags: int) -> Network:
        """Return an empty network."""
        return Network(flags)

    def create_builder_config(self) -> Config:
        """Return the default configuration."""
        return Config()

    def create_optimization_profile(self) -> Profile:
        """Return an empty profile."""
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> memoryview | None:
        """Return the engine, or None: TensorRT logs what went wrong."""
        if self._tensorrt.fails:
            return None
        (profile,) = config.profiles
        # TensorRT refuses a network without a range for each dynamic input.
        assert set(network.inputs) == profile.shapes.keys()
        self._tensorrt.builds += 1
        config.cache.content += b"timed;"
        engine = {
            "flags": sorted(flag.name for flag in config.flags),
            "network": network.flags,
            "shapes": profile.shapes,
        }
        return memoryview(repr(engine).encode())


class OnnxParser:
    """Reads the inputs of a graph."""

    def __init__(self, tensorrt: FakeTensorRT, network: Network) -> None:
        self._tensorrt = tensorrt
        self._network = network

    def parse_from_file(self, path: str) -> bool:
        """Fill the network."""
        assert Path(path).with_name("model.onnx.data").exists()
        model = onnx.load_model(path, load_external_data=False)
        self._network.inputs = [value.name for value in model.graph.input]
        return not self._tensorrt.problems

    @property
    def num_errors(self) -> int:
        """How many problems there were."""
        return len(self._tensorrt.problems)

    def get_error(self, index: int) -> str:
        """Return a problem."""
        return self._tensorrt.problems[index]
