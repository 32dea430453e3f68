"""What can go wrong in an export, told apart by type.

* BgeM3Error
  + ExportError
    - CheckpointError        the checkpoint is incomplete, misshapen or of another architecture
    - DownloadError          a pinned file could not be fetched
    - HashMismatchError      a file is not the one that was pinned
    - WeightsFormatError     a weights file is not laid out as its format says
    - DiskSpaceError         the disk has no room for what is to be written
    - DirectoryInUseError    the directory to write to holds something else
"""

from bgem3_client.errors import BgeM3Error


class ExportError(BgeM3Error):
    """Base of what can go wrong while a repository or the demo model is made."""


class CheckpointError(ExportError):
    """The checkpoint is incomplete, misshapen or of another architecture."""


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
