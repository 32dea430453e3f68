"""Whatever is sent to whichever model: an answer or an error, and nobody else's numbers.

``make fuzz-triton`` sends more, at random; ``BGEM3_FUZZ_EXAMPLES`` says how much.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import grpc
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live.raw_cases import Case, RawTensor, cases, write_texts
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bgem3_backend.contract import ENSEMBLE, NOT_FINITE_MARK
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

EXAMPLES: Final = int(os.environ.get("BGEM3_FUZZ_EXAMPLES", "0"))
LONGEST_ANSWER_SECONDS: Final = 15.0
CANARY: Final = Case(
    ENSEMBLE,
    (RawTensor("text", "BYTES", (1, 2), write_texts([b"the canary", b"knock knock"])),),
    ("dense", "sparse_values", "colbert", "token_ids"),
    (),
)


# What Triton 24.10 does wrong before a model has a say: docs/security.md has it.
fair_cases = cases().filter(
    lambda case: not (case.is_lost() or case.is_contagious() or case.is_deadly())
)


class Server:
    """Sends volleys of cases, and counts what came of them."""

    def __init__(self, addresses: Addresses) -> None:
        self._channel = grpc.insecure_channel(addresses.grpc)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._addresses = addresses
        self.outcomes: Counter[str] = Counter()
        self.processes = self.model_processes()
        self.canary = self.send([CANARY])[0]

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def model_processes(self) -> set[int]:
        """The processes of the Python models."""
        option = f"--grpc-port={self._addresses.grpc_port}"
        (triton,) = (
            process
            for process in psutil.process_iter(["cmdline"])
            if option in (process.info["cmdline"] or ()) and "tritonserver" in process.name()
        )
        return {child.pid for child in triton.children(recursive=True)}

    def send_and_forget(self, case: Case) -> Any:
        """Send one that gets no answer; it ends with the connection."""
        return self._stub.ModelInfer.future(case.message())

    def send(self, volley: list[Case]) -> list[dict[str, bytes] | grpc.RpcError]:
        """Send all at once; return the outputs, or the error, of each."""
        pending = [self._stub.ModelInfer.future(case.message()) for case in volley]
        answers: list[dict[str, bytes] | grpc.RpcError] = []
        for case, future in zip(volley, pending, strict=True):
            try:
                answers.append(_outputs(future.result(LONGEST_ANSWER_SECONDS)))
            except grpc.RpcError as error:
                answers.append(error)
            except grpc.FutureTimeoutError:
                raise AssertionError(f"no answer to {case}, sent among {volley}") from None
        return answers


def _outputs(answer: service_pb2.ModelInferResponse) -> dict[str, bytes]:
    """Return name and shape of each output, and what it holds."""
    contents = answer.raw_output_contents
    return {
        f"{output.name} {output.datatype} {list(output.shape)}": content
        for output, content in zip(answer.outputs, contents, strict=True)
    }


def assert_same(expected: dict[str, bytes], actual: Any) -> None:
    """Equal, but for what batches may do to the last digits."""
    assert isinstance(actual, dict), actual
    assert expected.keys() == actual.keys()
    for name, content in expected.items():
        kind = {"FP32": np.float32, "FP16": np.float16}.get(name.split()[1])
        if kind is None:
            assert content == actual[name], name
        else:
            wanted, found = np.frombuffer(content, kind), np.frombuffer(actual[name], kind)
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-3, err_msg=name)


def is_apt(code: grpc.StatusCode, message: str, case: Case) -> bool:
    """Whether a refusal blames whose fault it is."""
    if code is grpc.StatusCode.INTERNAL and case.is_one_row():
        return NOT_FINITE_MARK in message
    # Batch sizes beyond 31 bits are refused late, and by Triton.
    return code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


@pytest.fixture(scope="module")
def server(tiny_triton: Addresses) -> Iterator[Server]:
    """A server of a model that takes no time; afterwards all its processes are still there."""
    server = Server(tiny_triton)
    yield server
    print("\n", sum(server.outcomes.values()), "requests:", dict(server.outcomes.most_common()))
    assert server.processes == server.model_processes()
    server.close()


@given(volley=st.lists(fair_cases, min_size=3, max_size=12))
@settings(
    max_examples=EXAMPLES or 20,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_answered_with_what_is_not_its_own(
    server: Server, volley: list[Case]
) -> None:
    """Among others it is answered as alone, or refused with a reason; so are the others."""
    *answers, canary = server.send([*volley, CANARY])
    for case, answer in zip(volley, answers, strict=True):
        if isinstance(answer, grpc.RpcError):
            code, message = answer.code(), answer.details()
            server.outcomes[code.name] += 1
            assert case.is_answered() is not True, f"refused: {message}"
            assert message, case
            assert is_apt(code, message, case), (code, message, case)
        else:
            server.outcomes["answered"] += 1
            assert case.is_answered() is not False, (
                f"answered, though it makes no sense: {case} {answer}"
            )
            assert_same(answer, server.send([case])[0])
    assert_same(server.canary, canary)
    assert server.processes == server.model_processes()
