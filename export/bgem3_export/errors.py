"""What can go wrong in an export, told apart by type.

* BgeM3Error
  + ExportError
    - CheckpointError        the checkpoint is incomplete, misshapen or of another architecture
    - SourceError            the model's name or folder leads nowhere
    - HubError               the hub cannot be reached, or refuses
    - ParityError            the exported graph does not give what the checkpoint gives
    - QuantizationError      the INT8 trunk is too far from the checkpoint
    - RepositoryError        a folder is no repository of ours, or one of another model
    - DeviceError            the chosen device cannot be used here
    - EngineError            no engine can be built for this machine's GPU
    - DownloadError          a pinned file could not be fetched
    - HashMismatchError      a file is not the one that was pinned
    - WeightsFormatError     a weights file is not laid out as its format says
    - DiskSpaceError         the disk has no room for what is to be written
    - DirectoryInUseError    the directory to write to holds something else
    - CompilerError          there is no C compiler here, or it fails
    - PlanError              no settings can be worked out, or not written
      - UnknownOperatorError   what the graph takes of memory cannot be told
      - NotEnoughMemoryError   the model does not fit
"""

from bgem3_client.errors import BgeM3Error


class ExportError(BgeM3Error):
    """Base of what can go wrong while a repository or the demo model is made."""


class CheckpointError(ExportError):
    """The checkpoint is incomplete, misshapen or of another architecture."""


class SourceError(ExportError):
    """The model's name or folder leads nowhere."""

    exit_code = 2


class HubError(ExportError):
    """The hub cannot be reached, or refuses; the message says how to do without it."""


class ParityError(ExportError):
    """The exported graph does not give what the checkpoint gives; nothing was published."""


class QuantizationError(ExportError):
    """The INT8 trunk is too far from the checkpoint; nothing was published."""


class RepositoryError(ExportError):
    """A folder is not a repository of ours, or one of another model or format."""

    exit_code = 2


class DeviceError(ExportError):
    """The chosen device cannot be used here."""

    exit_code = 2


class EngineError(ExportError):
    """No engine can be built here: no TensorRT, no GPU, or TensorRT refuses the graph."""


class DownloadError(ExportError):
    """A pinned file could not be fetched: no network, no such release, or another content."""


class HashMismatchError(ExportError):
    """A file is not the one that was pinned: damaged, or another release."""


class WeightsFormatError(ExportError):
    """A weights file is not laid out as its format says."""


class DiskSpaceError(ExportError):
    """The disk has no room for what is to be written."""


class DirectoryInUseError(ExportError):
    """The directory to write to holds something that must not be overwritten."""


class CompilerError(ExportError):
    """There is no C compiler here, or it fails; the message has what it said."""


class PlanError(ExportError):
    """No settings can be worked out from what was given, or they cannot be written."""

    exit_code = 2


class UnknownOperatorError(PlanError):
    """What the graph takes of memory cannot be told: it has an operator without a rule."""

    exit_code = 1


class NotEnoughMemoryError(PlanError):
    """The model does not fit into the memory; the message says what would fit."""

    exit_code = 1
