"""What a model is told when Triton loads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelConfig:
    """The folder of the loaded version, and the parameters of ``config.pbtxt``."""

    version_directory: Path
    parameters: dict[str, str]
    instance_kind: str
    device_id: int

    @classmethod
    def from_arguments(cls, arguments: dict[str, str]) -> ModelConfig:
        """Read the arguments of ``TritonPythonModel.initialize``."""
        config = json.loads(arguments["model_config"])
        return cls(
            version_directory=Path(arguments["model_repository"]) / arguments["model_version"],
            parameters={key: value["string_value"] for key, value in config["parameters"].items()},
            instance_kind=arguments["model_instance_kind"],
            device_id=int(arguments["model_instance_device_id"]),
        )

    def integer(self, name: str) -> int:
        """Return an integer parameter.

        Raises:
            KeyError: ``config.pbtxt`` does not have it.
            ValueError: It is not an integer.
        """
        return int(self.parameters[name])

    def limit(self, name: str, otherwise: int) -> int:
        """Return a limit that ``config.pbtxt`` may lower.

        Args:
            name: The parameter.
            otherwise: The limit where there is no such parameter, or a higher one.

        Raises:
            ValueError: It is not an integer.
        """
        return min(otherwise, self.integer(name)) if name in self.parameters else otherwise

    def text(self, name: str, otherwise: str) -> str:
        """Return a parameter, or what holds where ``config.pbtxt`` does not have it."""
        return self.parameters.get(name, otherwise)

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a parameter that lists integers, separated by commas."""
        return tuple(int(item) for item in self.parameters[name].split(","))

    @property
    def device(self) -> str:
        """The torch device of this instance."""
        return f"cuda:{self.device_id}" if self.instance_kind == "GPU" else "cpu"
