"""Why a server did not start, or did not stay.

A directory that is no model repository is a RepositoryError of the export's tree.

* BgeM3Error
  + InstallationError          there is no tritonserver that can run here
  + EngineMismatchError        the TensorRT engine cannot run on this machine
  + StartError                 Triton ran, but did not come up
    - PortInUseError           somebody else listens on one of its ports
    - ModelLoadError           a model of the repository did not load; `reasons` says which and why
    - ReadyTimeoutError        not ready within the time allowed
  + ServiceStartError          the HTTP service did not come up; its own message is above
  + TLSError                   a certificate or key of the HTTP service cannot be used
  + StopError                  processes of Triton cannot be ended
  + GaveUpError                Triton, or the HTTP service, failed too often in a row
"""

from __future__ import annotations

from collections.abc import Mapping

from bgem3_client.errors import BgeM3Error


class InstallationError(BgeM3Error):
    """There is no tritonserver that can run here."""


class EngineMismatchError(BgeM3Error):
    """The repository's TensorRT engine was built for another GPU or TensorRT, or is not there."""

    exit_code = 2


class StartError(BgeM3Error):
    """Triton was started and did not come up; the message has the reason from its log."""


class PortInUseError(StartError):
    """Somebody else listens on a port that Triton or the HTTP service was given."""


class ModelLoadError(StartError):
    """A model of the repository did not load.

    Attributes:
        reasons: For each failed model, what Triton says about it.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        lines = [f"  {model}: {reason}" for model, reason in reasons.items()]
        super().__init__("\n".join(["Triton could not load the repository:", *lines]))
        self.reasons = dict(reasons)


class ReadyTimeoutError(StartError):
    """Triton was not ready within the time allowed."""


class ServiceStartError(BgeM3Error):
    """A process of the HTTP service ended before it listened; it has said why on standard error."""


class TLSError(BgeM3Error):
    """The HTTP service's certificate, its key or the authorities of callers cannot be used."""

    exit_code = 2


class StopError(BgeM3Error):
    """Processes of Triton cannot be ended; the message has their ids."""


class GaveUpError(BgeM3Error):
    """Triton, or the HTTP service, failed too often in a row to be started once more."""
