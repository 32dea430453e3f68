"""What people use instead, each in an environment of its own.

* ``catalogue``      what there is, and why some of it cannot be had here
* ``environments``   installs them, with pip and nothing else
* ``prepared_files`` files that a peer needs beside the checkpoint, made once
* ``commands``       how a peer's worker is started
"""

from __future__ import annotations

from bgem3_bench.peers.catalogue import PEERS, Peer
from bgem3_bench.peers.commands import worker_command
from bgem3_bench.peers.environments import Environment, Unavailable, environment, install_peers

__all__ = [
    "PEERS",
    "Environment",
    "Peer",
    "Unavailable",
    "environment",
    "install_peers",
    "worker_command",
]
