"""Small servers that speak Triton's protocols and answer with the fake transport's numbers.

They stand for everything a real server can do that cannot be provoked from a real one quickly.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np
from aiohttp import web
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
)

from bgem3_backend.contract import ENSEMBLE
from bgem3_client.errors import InvalidInputError
from bgem3_client.transports import FakeTransport, InferRequest


@dataclass
class Behaviour:
    """What the server does instead of answering, and what it saw."""

    code: grpc.StatusCode | int | None = None
    message: str = "no reason"
    ready: bool = True
    delay_seconds: float = 0.0
    colbert_size: int = 16
    raw_body: bytes | None = None
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: list[InferRequest] = field(default_factory=list)


async def answer(behaviour, texts, outputs, parameters, model, model_version):
    """Answer a decoded request as the fake transport does, and remember it."""
    request = InferRequest(
        tuple(texts),
        tuple(ENSEMBLE.output(name) for name in outputs),
        parameters,
        model,
        model_version,
    )
    behaviour.requests.append(request)
    return (await FakeTransport(colbert_size=behaviour.colbert_size).infer(request)).tensors


def refused(error):
    """Return the message of a refusal as an ensemble words it."""
    return f"in ensemble 'bge_m3', [index={error.index}] {error}"


def raw(tensor):
    """Return a tensor as the protocols send it."""
    if tensor.dtype == np.object_:
        serialized = serialize_byte_tensor(tensor)
        return serialized.item() if serialized.size else b""
    return tensor.tobytes()


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, behaviour):
        self.behaviour = behaviour

    async def ServerReady(self, request, context):  # noqa: N802
        """Say what the behaviour says."""
        return service_pb2.ServerReadyResponse(ready=self.behaviour.ready)

    async def ModelMetadata(self, request, context):  # noqa: N802
        """Describe the outputs that have a width."""
        response = service_pb2.ModelMetadataResponse(name=request.name, versions=["1", "2"])
        response.outputs.add(name="dense", datatype="FP32", shape=[-1, -1, 16])
        response.outputs.add(name="colbert", datatype="FP32", shape=[-1, -1, 16])
        return response

    async def ModelInfer(self, request, context):  # noqa: N802
        """Answer, or do what the behaviour says."""
        behaviour = self.behaviour
        behaviour.headers.append(dict(context.invocation_metadata()))
        await asyncio.sleep(behaviour.delay_seconds)
        if behaviour.code is not None:
            await context.abort(behaviour.code, behaviour.message)
        try:
            tensors = await answer(
                behaviour,
                deserialize_bytes_tensor(request.raw_input_contents[0]).tolist(),
                [output.name for output in request.outputs],
                {
                    name: getattr(value, value.WhichOneof("parameter_choice"))
                    for name, value in request.parameters.items()
                },
                request.model_name,
                request.model_version,
            )
        except InvalidInputError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused(error))
        response = service_pb2.ModelInferResponse(model_name="bge_m3", model_version="2")
        for name, tensor in tensors.items():
            response.outputs.add(
                name=name, datatype=np_to_triton_dtype(tensor.dtype), shape=tensor.shape
            )
            response.raw_output_contents.append(
                raw(tensor) if behaviour.raw_body is None else behaviour.raw_body
            )
        return response


@asynccontextmanager
async def grpc_server(behaviour, credentials=None, port=0):
    """Run a gRPC server; yield its address."""
    sizes = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
    server = grpc.aio.server(options=sizes)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(behaviour), server)
    if credentials is None:
        port = server.add_insecure_port(f"localhost:{port}")
    else:
        port = server.add_secure_port(f"localhost:{port}", credentials)
    await server.start()
    try:
        yield f"localhost:{port}"
    finally:
        await server.stop(grace=None)


@asynccontextmanager
async def http_server(behaviour, ssl_context=None, port=0):
    """Run an HTTP server; yield its address."""

    async def ready(request):
        return web.Response(status=200 if behaviour.ready else 400)

    async def metadata(request):
        outputs = [
            {"name": name, "datatype": "FP32", "shape": [-1, -1, 16]}
            for name in ("dense", "colbert")
        ]
        return web.json_response(
            {"name": request.match_info["model"], "versions": ["1", "2"], "outputs": outputs}
        )

    async def infer(request):
        behaviour.headers.append(dict(request.headers))
        await asyncio.sleep(behaviour.delay_seconds)
        if behaviour.code is not None:
            return web.json_response({"error": behaviour.message}, status=behaviour.code)
        if behaviour.raw_body is not None:
            return web.Response(body=behaviour.raw_body)
        body = await request.read()
        header_length = int(request.headers["Inference-Header-Content-Length"])
        header = json.loads(body[:header_length])
        try:
            tensors = await answer(
                behaviour,
                deserialize_bytes_tensor(body[header_length:]).tolist(),
                [output["name"] for output in header["outputs"]],
                header["parameters"],
                request.match_info["model"],
                request.match_info.get("version", ""),
            )
        except InvalidInputError as error:
            return web.json_response({"error": refused(error)}, status=400)
        contents = {name: raw(tensor) for name, tensor in tensors.items()}
        answered = json.dumps(
            {
                "model_name": "bge_m3",
                "model_version": "2",
                "outputs": [
                    {
                        "name": name,
                        "datatype": np_to_triton_dtype(tensor.dtype),
                        "shape": tensor.shape,
                        "parameters": {"binary_data_size": len(contents[name])},
                    }
                    for name, tensor in tensors.items()
                ],
            }
        ).encode()
        return web.Response(
            body=answered + b"".join(contents.values()),
            headers={"Inference-Header-Content-Length": str(len(answered))},
        )

    application = web.Application(client_max_size=2**30)
    application.router.add_get("/v2/health/ready", ready)
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        application.router.add_get(path, metadata)
        application.router.add_post(path + "/infer", infer)
    runner = web.AppRunner(application, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=ssl_context)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    scheme = "http" if ssl_context is None else "https"
    try:
        yield f"{scheme}://localhost:{port}"
    finally:
        await runner.cleanup()


SERVERS = {"grpc": grpc_server, "http": http_server}
