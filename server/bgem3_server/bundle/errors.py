"""Why there is no bundle.

* BgeM3Error
  + BundleError       a bundle cannot be made so
    - PackagesError   pip could not get the packages
"""

from __future__ import annotations

from bgem3_client.errors import BgeM3Error


class BundleError(BgeM3Error):
    """A bundle cannot be made so; nothing was left behind."""

    exit_code = 2


class PackagesError(BundleError):
    """A package could not be had: no network, no such version, no room; pip's words are in it."""

    exit_code = 1
