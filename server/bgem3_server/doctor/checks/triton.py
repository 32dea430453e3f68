"""The Triton that runs: does it answer, has it the models, are its vectors sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bgem3_backend.contract import DENSE, ENSEMBLE, MODELS, Tensor
from bgem3_client.errors import AccessError, InvalidInputError
from bgem3_client.triton_key import VARIABLE
from bgem3_server.doctor.check import Check
from bgem3_server.doctor.checks.versions import (
    FIRST_SOUND_VERSION,
    OLD_TRITON_ADVICE,
    is_of_wheel,
    is_old_version,
)
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.sample_request import send_sample
from bgem3_server.doctor.subject import Subject
from bgem3_server.doctor.triton_questions import ModelState, NoAnswerError, TritonQuestions

_TYPES: Final = {"STRING": "BYTES"}
_READY: Final = "READY"
_EXPORT_AGAIN: Final = "export the model again with this release, and restart Triton"


def answers(subject: Subject) -> Iterator[Finding]:
    """Whether Triton answers, is ready, and of which version it is."""
    from bgem3_client.address import Address

    try:
        Address.parse(subject.url or "127.0.0.1:8001")
    except InvalidInputError as error:
        yield problem(Code.SERVER_ADDRESS_INVALID, str(error), "correct --url or BGEM3_URL")
        return
    address = subject.triton_address
    if address is None:
        yield _unasked(subject)
        return
    if (silence := subject.triton_silence) is not None:
        if subject.url is None:
            yield _unasked(subject)
            return
        yield problem(
            Code.TRITON_UNREACHABLE,
            f"no Triton answers at {address.target}: {silence}",
            "start one (bgem3 serve DIR), or correct --url: Triton's gRPC port is 8001, its HTTP "
            "port http://HOST:8000; 'bgem3 serve' listens on this machine alone unless --address "
            "says otherwise",
            address=address.target,
        )
        return
    with TritonQuestions.to(address) as triton:
        version = triton.version()
        if not triton.is_ready():
            yield problem(
                Code.TRITON_NOT_READY,
                f"Triton {version} at {address.target} runs and is not ready",
                "its models are loading, or one did not load: see the next line and its log",
                version=version,
            )
            return
    if is_old_version(version) and not is_of_wheel(subject, version):
        yield warning(
            Code.TRITON_OLD,
            f"Triton {version} at {address.target} is live and ready; versions before "
            f"{FIRST_SOUND_VERSION} hang when the queue of a step is full",
            OLD_TRITON_ADVICE,
            version=version,
        )
        return
    yield ok(f"Triton {version} at {address.target} is live and ready", version=version)


def _unasked(subject: Subject) -> Finding:
    """Return why Triton was not asked: the same for all checks of it."""
    if subject.triton_address is None:
        return not_applicable("nothing says where a Triton is (--url)")
    if subject.url is None:
        return not_applicable(
            f"no Triton answers at {subject.triton_address.target}; --url names another"
        )
    return not_applicable("Triton does not answer")


def models(subject: Subject) -> Iterator[Finding]:
    """Whether each model is loaded, and if not, why."""
    address = subject.triton_address
    if address is None or subject.triton_silence is not None:
        yield _unasked(subject)
        return
    with TritonQuestions.to(address) as triton:
        try:
            index = triton.models()
        except NoAnswerError:
            loaded = triton.is_loaded(ENSEMBLE.name)
            finding = (
                ok(f"{ENSEMBLE.name} is loaded; the other models are told to holders of a key")
                if loaded
                else problem(
                    Code.MODEL_NOT_LOADED,
                    f"{ENSEMBLE.name} is not loaded, and Triton says why to holders of its key",
                    f"run doctor as the user who started Triton, or set {VARIABLE}",
                )
            )
            yield finding
            return
    yield from _states(index)


def _states(index: list[ModelState]) -> Iterator[Finding]:
    ready = sorted({model.name for model in index if model.state == _READY})
    names = {model.name for model in MODELS}
    faults = False
    for model in index:
        # A version that was unloaded for a newer one is no fault.
        if model.name in ready or model.name not in names or not (model.state or model.reason):
            continue
        faults = True
        yield problem(
            Code.MODEL_NOT_LOADED,
            f"{model.name} is not loaded: {model.reason or model.state}",
            "correct what the reason says, then restart Triton; 'bgem3 doctor DIR' checks the "
            "model's files, and --log-file has Triton's own words",
            model=model.name,
            state=model.state,
        )
    if not faults and ENSEMBLE.name not in ready:
        faults = True
        yield problem(
            Code.MODEL_NOT_LOADED,
            f"{ENSEMBLE.name} is not loaded; what is: {', '.join(ready) or 'nothing'}",
            "start Triton on a repository of 'bgem3 export', or load the model again",
            model=ENSEMBLE.name,
        )
    if not faults:
        yield ok(f"{len(ready)} models are loaded: {', '.join(ready)}", models=ready)


def contract(subject: Subject) -> Iterator[Finding]:
    """Whether the model is of this release's contract, and the one in the repository."""
    address = subject.triton_address
    if address is None or subject.triton_silence is not None:
        yield _unasked(subject)
        return
    with TritonQuestions.to(address) as triton:
        try:
            served = triton.tensors(ENSEMBLE.name)
        except NoAnswerError as error:
            yield not_applicable(f"{ENSEMBLE.name} is not served: {error}")
            return
    lacking = [
        *(item.name for item in ENSEMBLE.inputs if not _is_there(item, served.inputs)),
        *(item.name for item in ENSEMBLE.outputs if not _is_there(item, served.outputs)),
    ]
    if lacking:
        yield problem(
            Code.MODEL_OF_OTHER_CONTRACT,
            f"{ENSEMBLE.name} lacks {', '.join(lacking)}, or has them in another type: another "
            "release has exported it, or it is another model",
            _EXPORT_AGAIN,
            lacking=lacking,
        )
        return
    size = served.outputs[DENSE.name][1]
    version = ", ".join(served.versions)
    manifest = subject.manifest
    if manifest is not None and (
        manifest.newest not in served.versions or manifest.model.hidden_size != size
    ):
        yield warning(
            Code.MODEL_OF_OTHER_VERSION,
            f"Triton serves version {version} with {size} dimensions, and {subject.repository} has "
            f"version {manifest.newest} with {manifest.model.hidden_size}",
            "restart Triton on this repository, or name the one that it serves",
            served=version,
            repository=manifest.newest,
        )
        return
    yield ok(
        f"{ENSEMBLE.name} version {version} has the tensors of this release; {size} dimensions",
        version=version,
        dimension=size,
    )


def _is_there(tensor: Tensor, tensors: dict[str, tuple[str, int]]) -> bool:
    return tensors.get(tensor.name, ("", 0))[0] == _TYPES.get(tensor.datatype, tensor.datatype)


def request(subject: Subject) -> Iterator[Finding]:
    """Whether a real request is answered with sound vectors."""
    address = subject.triton_address
    if address is None or subject.triton_silence is not None:
        yield _unasked(subject)
        return
    try:
        yield from send_sample(subject.url or address.target)
    except AccessError as error:
        yield problem(
            Code.REQUEST_FAILED,
            f"Triton refuses requests: {error}",
            "a proxy before it, or its own options, want credentials: use the HTTP service",
        )


CHECKS: Final = (
    Check("triton.answers", answers),
    Check("triton.models", models),
    Check("triton.contract", contract),
    Check("triton.request", request),
)
