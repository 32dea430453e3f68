"""What can go wrong around perf_analyzer, told apart by type.

* BgeM3Error
  + PerfAnalyzerMissingError    there is none that can run here; the message says how to get one
  + PerfAnalyzerError           it ran and failed
    - PerfAnalyzerUnstableError it found no figures that stay the same
    - PerfAnalyzerTimeoutError  it did not end in the time allowed, and was stopped
  + PartialModelError           the server does not take a model with some of the outputs
  + DemoModelError              the demo model could not be exported
"""

from __future__ import annotations

from bgem3_client.errors import BgeM3Error


class PerfAnalyzerMissingError(BgeM3Error):
    """There is no ``perf_analyzer`` that can run here."""


class PerfAnalyzerError(BgeM3Error):
    """``perf_analyzer`` failed; the message ends with what it said."""


class PerfAnalyzerUnstableError(PerfAnalyzerError):
    """The last three of its measurements differ by more than was allowed, and it gave none."""


class PerfAnalyzerTimeoutError(PerfAnalyzerError):
    """It did not end in the time allowed, and was stopped."""


class PartialModelError(BgeM3Error):
    """The server does not let a model be loaded that has some of the outputs alone."""


class DemoModelError(BgeM3Error):
    """The demo model could not be exported; the export has said why."""
