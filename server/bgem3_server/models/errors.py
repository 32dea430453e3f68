"""What can go wrong with versions of the model.

* BgeM3Error
  + VersionError             there is no such version, or not for what was asked
  + IncompatibleModelError   an export cannot take the place of what is served
  + ModelChangeError         Triton did not do it; what served before goes on serving
"""

from __future__ import annotations

from bgem3_client.errors import BgeM3Error


class VersionError(BgeM3Error):
    """There is no such version, or what was asked cannot be done with it."""

    exit_code = 2


class IncompatibleModelError(BgeM3Error):
    """An export is damaged, or of another kind than what is served; the message says in what."""

    exit_code = 2


class ModelChangeError(BgeM3Error):
    """Triton did not load, try or unload a version; what served before goes on serving."""
