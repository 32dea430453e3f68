"""What the ensemble costs: a dense request of one short text, against the trunk alone.

Both are asked by gRPC in turns, in one run, through the live server, the trunk with the ids that
the tokenizer gives for the same text. Ends with 1 when the ensemble's median is more than
3 ms above the trunk's.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from tritonclient import grpc

from bgem3_backend.contract import DENSE, ENSEMBLE, INPUT_IDS, LENGTHS, TEXT, TOKENIZER, TRUNK
from bgem3_bench.machine import this_machine
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.repositories import DEMO_NOTE, demo_repository
from bgem3_server.serving import running_triton

LIMIT_MILLISECONDS = 3.0

_TEXT = "How do I reset my WeChat Pay password?"
_WARM_UP_REQUESTS = 50

Request = Callable[[], grpc.InferResult]


@dataclass(frozen=True)
class Latency:
    """Of one kind of request."""

    p50_milliseconds: float
    p95_milliseconds: float

    @classmethod
    def of(cls, seconds: npt.NDArray[np.float64]) -> Latency:
        """Summarise single times."""
        p50, p95 = np.percentile(seconds * 1000, [50, 95])
        return cls(float(p50), float(p95))


@click.command()
@click.option(
    "--requests", type=click.IntRange(10), default=500, show_default=True, help="Of each."
)
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A model repository; by default one of the demo model.",
)
def main(requests: int, repository: Path | None) -> None:
    """Measure what the ensemble adds to the trunk for one short text, dense only."""
    with (
        running_triton(repository or demo_repository()) as addresses,
        grpc.InferenceServerClient(addresses.grpc) as client,
    ):
        through_ensemble, trunk_alone = _requests(client)
        ensemble, trunk = measure_in_turns(through_ensemble, trunk_alone, requests)

    # Of neighbours in time, so that what else the machine does falls on both.
    added_milliseconds = float(np.median(ensemble - trunk)) * 1000
    difference_milliseconds = float(np.median(ensemble) - np.median(trunk)) * 1000
    latencies = {"ensemble": Latency.of(ensemble), "trunk alone": Latency.of(trunk)}
    click.echo(f"{DEMO_NOTE if repository is None else repository}; {this_machine()}\n")
    click.echo(
        markdown_table(
            (f"one short text, dense, {requests} requests each in turns", "p50 ms", "p95 ms"),
            [
                (name, f"{latency.p50_milliseconds:.2f}", f"{latency.p95_milliseconds:.2f}")
                for name, latency in latencies.items()
            ],
        )
    )
    passed = difference_milliseconds <= LIMIT_MILLISECONDS
    click.echo(
        f"\nThe ensemble adds {difference_milliseconds:.2f} ms (difference of the medians; median "
        f"of the differences {added_milliseconds:.2f} ms); at most {LIMIT_MILLISECONDS} are "
        f"allowed: {'passed' if passed else 'MISSED'}"
    )
    write_json(
        output_directory() / "ensemble-overhead.json",
        {
            "requests": requests,
            "latencies": {name: asdict(latency) for name, latency in latencies.items()},
            "difference_of_medians_milliseconds": difference_milliseconds,
            "median_difference_milliseconds": added_milliseconds,
            "limit_milliseconds": LIMIT_MILLISECONDS,
            "passed": passed,
        },
    )
    sys.exit(not passed)


def measure_in_turns(
    first: Request, second: Request, count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the seconds of ``count`` requests of each kind, [count], sent one after the other."""
    seconds = np.empty((_WARM_UP_REQUESTS + count, 2))
    gc.disable()
    for number in range(len(seconds)):
        # Each goes first as often as the other.
        order = ((0, first), (1, second)) if number % 2 == 0 else ((1, second), (0, first))
        for column, request in order:
            begin = time.perf_counter()
            request()
            seconds[number, column] = time.perf_counter() - begin
    gc.enable()
    measured = seconds[_WARM_UP_REQUESTS:]
    return measured[:, 0], measured[:, 1]


def _requests(client: grpc.InferenceServerClient) -> tuple[Request, Request]:
    """Return the two requests to compare; both give the same vector."""
    text = _input(TEXT.name, "BYTES", np.array([[_TEXT.encode()]], np.object_))
    tokens = client.infer(
        TOKENIZER.name, [text], outputs=[_output(INPUT_IDS.name), _output(LENGTHS.name)]
    )
    packed = [
        _input(name, "INT32", tokens.as_numpy(name)) for name in (INPUT_IDS.name, LENGTHS.name)
    ]
    dense = [_output(DENSE.name)]

    def through_ensemble() -> grpc.InferResult:
        return client.infer(ENSEMBLE.name, [text], outputs=dense)

    def trunk_alone() -> grpc.InferResult:
        return client.infer(TRUNK.name, packed, outputs=dense)

    np.testing.assert_allclose(
        through_ensemble().as_numpy(DENSE.name), trunk_alone().as_numpy(DENSE.name), atol=1e-5
    )
    return through_ensemble, trunk_alone


def _input(name: str, datatype: str, values: npt.NDArray[np.generic]) -> grpc.InferInput:
    tensor = grpc.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


def _output(name: str) -> grpc.InferRequestedOutput:
    return grpc.InferRequestedOutput(name)


if __name__ == "__main__":
    main()
