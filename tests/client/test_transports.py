"""Both real transports: what is sent, what comes back, and what each failure becomes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import grpc
import numpy as np
import pytest
from fake_triton import SERVERS, Behaviour, grpc_server, http_server

from bgem3_client import (
    TLS,
    AccessError,
    AsyncClient,
    BgeM3Error,
    ClientClosedError,
    ContractError,
    DeadlineError,
    FakeTransport,
    InferRequest,
    InternalServerError,
    InvalidInputError,
    Limits,
    ModelInfo,
    ModelNotFoundError,
    NotFiniteError,
    RetryPolicy,
    ServerOutOfMemoryError,
    UnavailableError,
)
from bgem3_client.address import Address
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.transports import connect
from bgem3_client.transports import grpc as grpc_transport
from bgem3_client.transports import http as http_transport

ONCE = RetryPolicy(attempts=1)
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "http"])
CODES = {
    "invalid": {"grpc": grpc.StatusCode.INVALID_ARGUMENT, "http": 400},
    "internal": {"grpc": grpc.StatusCode.INTERNAL, "http": 500},
    "not found": {"grpc": grpc.StatusCode.NOT_FOUND, "http": 404},
    "unavailable": {"grpc": grpc.StatusCode.UNAVAILABLE, "http": 503},
}


def run(protocol, behaviour, call, **options):
    """Run a server and a client, and return what the call returns."""

    async def main():
        async with (
            SERVERS[protocol](behaviour) as url,
            AsyncClient(url, **{"retries": ONCE, **options}) as client,
        ):
            return await call(client)

    return asyncio.run(main())


def encode(client):
    """Send the smallest request."""
    return client.encode(["a"])


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@PROTOCOLS
@pytest.mark.parametrize("colbert_dtype", ["float32", "float16"])
def test_all_outputs_survive_the_way(protocol, colbert_dtype):
    """Texts, parameters and all outputs go over the wire and come back unchanged."""
    texts = ["one two", "", "zwölf 😀 \0", "a b c d e f"]
    behaviour = Behaviour()

    async def encode_all(client):
        return await client.encode(
            texts,
            {"dense", "sparse", "colbert"},
            max_length=6,
            return_tokens=True,
            return_hidden_states=True,
            colbert_dtype=colbert_dtype,
        )

    async def encode_without_server():
        async with AsyncClient(transport=FakeTransport()) as client:
            return await encode_all(client)

    received = run(protocol, behaviour, encode_all, model="mine", model_version="2")

    expected = asyncio.run(encode_without_server())
    np.testing.assert_array_equal(expected.dense, received.dense)
    np.testing.assert_array_equal(expected.colbert.vectors, received.colbert.vectors)
    assert expected.colbert.vectors.dtype == received.colbert.vectors.dtype == colbert_dtype
    assert [row.tokens() for row in expected.sparse] == [row.tokens() for row in received.sparse]
    assert expected.tokens == received.tokens
    np.testing.assert_array_equal(expected.hidden_states.vectors, received.hidden_states.vectors)
    assert [False, False, False, True] == received.truncated.tolist()
    assert "2" == received.model_version
    (request,) = behaviour.requests
    assert ("mine", "2") == (request.model, request.model_version)
    assert {"max_length": 6, "truncate": True} == request.parameters
    assert tuple(text.encode() for text in texts) == request.texts


@PROTOCOLS
def test_answers_have_no_size_limit(protocol):
    """More than gRPC's default of 4 MB, both ways."""
    text = "x " * 3_000_000

    embeddings = run(
        protocol,
        Behaviour(colbert_size=256),
        lambda client: client.encode([text], {"colbert"}),
    )

    assert 8191 * 256 * 4 == embeddings.colbert[0].nbytes


@PROTOCOLS
def test_headers_are_sent_with_every_request(protocol):
    """As HTTP headers or as gRPC metadata, whose names are in lower case."""
    behaviour = Behaviour()

    run(protocol, behaviour, encode, headers={"Authorization": "Bearer 1", "x-Tenant": "t"})

    (headers,) = behaviour.headers
    headers = {name.lower(): value for name, value in headers.items()}
    assert ("Bearer 1", "t") == (headers["authorization"], headers["x-tenant"])


@PROTOCOLS
def test_headers_of_a_call_go_with_its_requests_alone(protocol):
    """Beside the client's own, whose value they replace; the next call is without them."""
    behaviour = Behaviour()
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def calls(client):
        await client.encode(["a", "b"], headers={"Traceparent": traceparent, "X-Tenant": "call"})
        await client.encode(["c"])

    run(
        protocol,
        behaviour,
        calls,
        headers={"x-tenant": "client", "x-other": "o"},
        limits=Limits(max_texts_per_request=1),
    )

    seen = [{name.lower(): value for name, value in row.items()} for row in behaviour.headers]
    names = ("traceparent", "x-tenant", "x-other")
    of_the_call, of_the_client = (traceparent, "call", "o"), (None, "client", "o")
    assert [of_the_call, of_the_call, of_the_client] == [
        tuple(row.get(name) for name in names) for row in seen
    ]


def test_http_does_not_ask_for_compression():
    """Triton would compress for whoever accepts it, which takes far longer than it saves."""
    behaviour = Behaviour()

    run("http", behaviour, encode)

    assert "identity" == behaviour.headers[0]["Accept-Encoding"]


@PROTOCOLS
def test_model_info_is_read_from_metadata(protocol):
    """Sizes come from the shapes of the outputs."""
    info = run(protocol, Behaviour(), lambda client: client.model_info())

    assert ModelInfo("bge_m3", ("1", "2"), 16, 16) == info


def test_every_grpc_status_has_an_error():
    """A status that gRPC adds must be given its error here."""
    covered = {*grpc_transport.SERVER_ERRORS, grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}

    assert set(grpc.StatusCode) == covered


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
)
def test_grpc_status_becomes_its_error(code):
    """By code, never by text, with the server's message."""
    expected = grpc_transport.SERVER_ERRORS.get(code, InvalidInputError)

    with pytest.raises(BgeM3Error, match="because") as caught:
        run("grpc", Behaviour(code=code, message="because"), encode)

    assert expected is type(caught.value)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *http_transport.SERVER_ERRORS.items(),
        (400, InvalidInputError),
        (413, InvalidInputError),
        (422, InvalidInputError),
        (405, ContractError),
        (418, ContractError),
        (501, InternalServerError),
        (599, InternalServerError),
    ],
)
def test_http_status_becomes_its_error(status, expected):
    """By status, never by text, with the server's message."""
    with pytest.raises(BgeM3Error, match="because") as caught:
        run("http", Behaviour(code=status, message="because"), encode)

    assert expected is type(caught.value)


@PROTOCOLS
@pytest.mark.parametrize("prefix", ["", "in ensemble 'bge_m3', ", "in ensemble 'a', " * 2])
def test_refused_text_keeps_its_index(protocol, prefix):
    """The prefix `[index=<i>] ` names the text, also behind what an ensemble puts before it."""
    message = prefix + "[index=0] the text says [index=5] \n and more"

    with pytest.raises(InvalidInputError) as caught:
        run(
            protocol,
            Behaviour(code=CODES["invalid"][protocol], message=message),
            lambda client: client.encode(["a"] * 3),
            limits=Limits(max_in_flight=1, max_texts_per_request=1),
        )

    assert 0 == caught.value.index
    assert "the text says [index=5] \n and more" == str(caught.value)


@PROTOCOLS
@pytest.mark.parametrize("prefix", ["", "in ensemble 'bge_m3', "])
@pytest.mark.parametrize(
    "message",
    [
        "[out_of_memory] the server had not enough memory",
        "onnx runtime error 6: Non-zero status code returned while running Mul node. Name:'m' "
        "Status Message: bfc_arena.cc:368 Failed to allocate memory for requested buffer of size 9",
    ],
)
def test_lack_of_memory_is_told_apart(protocol, prefix, message):
    """What our models mark, and what ONNX Runtime says behind Triton's own backend; sent once."""
    behaviour = Behaviour(code=CODES["internal"][protocol], message=prefix + message)

    with pytest.raises(ServerOutOfMemoryError) as caught:
        run(
            protocol,
            behaviour,
            lambda client: client.encode(["a" * 100, "b"], max_length=50),
            retries=RetryPolicy(),
        )

    assert str(caught.value).startswith("the server had not enough memory")
    assert str(caught.value).endswith("(number of texts: 2, tokens: about 53 at most)")
    assert 1 == len(behaviour.headers)


@PROTOCOLS
@pytest.mark.parametrize("prefix", ["", "in ensemble 'bge_m3', "])
def test_numbers_that_are_not_finite_are_told_apart(protocol, prefix):
    """By our models' mark; the text is named by its place in the call, and sent once."""
    message = f"{prefix}[not_finite] [index=1] the model gave a vector that is not finite"
    behaviour = Behaviour(code=CODES["internal"][protocol], message=message)

    with pytest.raises(NotFiniteError) as caught:
        run(
            protocol,
            behaviour,
            lambda client: client.encode(["a", "b"]),
            retries=RetryPolicy(),
        )

    assert "the model gave a vector that is not finite" == str(caught.value)
    assert 1 == caught.value.index
    assert ["about texts[1]"] == caught.value.__notes__
    assert 1 == len(behaviour.headers)


@PROTOCOLS
@pytest.mark.parametrize(
    "message",
    [
        "the text says [out_of_memory] ",
        "the text says [not_finite] [index=0] ",
        "[not_finite] of no text",
        "onnx runtime error 6: indices element out of data bounds",
        "a model: Failed to allocate memory for requested buffer of size 9",
    ],
)
def test_other_failures_are_the_servers(protocol, message):
    """Only a mark at the beginning counts, and only what ONNX Runtime itself says."""
    with pytest.raises(InternalServerError) as caught:
        run(protocol, Behaviour(code=CODES["internal"][protocol], message=message), encode)

    assert message == str(caught.value)


@PROTOCOLS
def test_hidden_states_of_an_earlier_export_are_missing(protocol):
    """Triton calls an output that it does not know the caller's mistake; it is the repository's."""
    behaviour = Behaviour(code=CODES["invalid"][protocol], message="unexpected inference output")

    with pytest.raises(ContractError, match="'token_states': an earlier release exported it"):
        run(protocol, behaviour, lambda client: client.encode(["a"], return_hidden_states=True))


@PROTOCOLS
def test_refused_text_of_a_later_request_is_named(protocol):
    """Over the wire: the server counts within the request, the caller's index is of all texts."""
    with pytest.raises(InvalidInputError, match="6 tokens, more than max_length=4") as caught:
        run(
            protocol,
            Behaviour(),
            lambda client: client.encode(["a"] * 5 + ["a b c d"], max_length=4, truncate=False),
            limits=Limits(max_texts_per_request=4),
        )

    assert 5 == caught.value.index


@PROTOCOLS
def test_index_inside_a_message_is_text(protocol):
    """Only the prefix counts: a message that quotes a text cannot forge an index."""
    behaviour = Behaviour(code=CODES["invalid"][protocol], message="no [index=0] here")

    with pytest.raises(InvalidInputError, match="no \\[index=0\\] here") as caught:
        run(protocol, behaviour, encode)

    assert caught.value.index is None


@PROTOCOLS
def test_missing_model_of_a_ready_server_is_missing(protocol):
    """The name or version is wrong: trying again would not help."""
    behaviour = Behaviour(code=CODES["not found"][protocol])

    with pytest.raises(ModelNotFoundError):
        run(protocol, behaviour, encode, retries=RetryPolicy())

    assert 1 == len(behaviour.headers)


@PROTOCOLS
def test_missing_model_of_a_stopping_server_is_worth_another_try(protocol):
    """A Triton that shuts down has no models any more, and says that it is not ready."""
    behaviour = Behaviour(code=CODES["not found"][protocol], ready=False)

    with pytest.raises(UnavailableError, match="starting or stopping"):
        run(
            protocol,
            behaviour,
            encode,
            retries=RetryPolicy(attempts=2, initial_backoff_seconds=0.001),
        )

    assert 2 == len(behaviour.headers)


@PROTOCOLS
def test_late_answer_is_a_deadline_error(protocol):
    """Also the first request of a connection, and quickly."""
    waited_seconds = []

    async def encode(client):
        started = time.monotonic()
        try:
            await client.encode(["a"], timeout_seconds=0.2)
        finally:
            waited_seconds.append(time.monotonic() - started)

    with pytest.raises(DeadlineError):
        run(protocol, Behaviour(delay_seconds=4), encode)

    assert waited_seconds[0] < 3


@PROTOCOLS
def test_transport_keeps_the_time_of_a_request(protocol):
    """By itself, whoever uses it."""
    options = EncodeOptions()
    request = InferRequest(
        (b"a",), options.tensors, options.parameters, "bge_m3", timeout_seconds=0.1
    )

    async def main():
        async with SERVERS[protocol](Behaviour(delay_seconds=3)) as url:
            transport = connect(Address.parse(url), {})
            try:
                await transport.infer(request)
            finally:
                await transport.close()

    with pytest.raises(DeadlineError):
        asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("scheme", ["grpc", "http", "grpcs", "https"])
def test_nobody_listening_is_unavailable(scheme):
    """Connection refused, in the clear or encrypted, inference or metadata."""

    async def main(call):
        async with AsyncClient(f"{scheme}://127.0.0.1:{free_port()}", retries=ONCE) as client:
            await call(client)

    for call in (encode, lambda client: client.model_info()):
        with pytest.raises(UnavailableError):
            asyncio.run(main(call))


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_unknown_host_is_unavailable(scheme):
    """A name that does not resolve."""

    async def main():
        async with AsyncClient(f"{scheme}://no-such-host.invalid:1", retries=ONCE) as client:
            await client.encode(["a"], timeout_seconds=20)

    with pytest.raises(UnavailableError):
        asyncio.run(main())


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_connection_that_breaks_is_unavailable(scheme):
    """A server that hangs up instead of answering."""

    async def main():
        async def hang_up(reader, writer):
            await reader.read(10)
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with (
            server,
            AsyncClient(f"{scheme}://127.0.0.1:{port}", retries=ONCE) as client,
        ):
            await client.encode(["a"], timeout_seconds=10)

    with pytest.raises(UnavailableError):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("server", "scheme", "expected"),
    [
        (http_server, "grpc", (UnavailableError, InternalServerError)),
        (grpc_server, "http", (ContractError, UnavailableError)),
    ],
)
def test_wrong_port_is_one_of_our_errors(server, scheme, expected):
    """GRPC sent to the HTTP port, and the other way round, fails with an error of the tree."""

    async def main():
        async with server(Behaviour()) as url:
            target = url.rpartition("//")[2]
            async with AsyncClient(f"{scheme}://{target}", retries=ONCE) as client:
                await client.encode(["a"], timeout_seconds=10)

    with pytest.raises(expected):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("protocol", "body"),
    [
        ("http", b""),
        ("http", b"<html>welcome</html>"),
        ("http", b"[]"),
        ("http", b'{"outputs": []}'),
        ("http", b'{"model_version": "1", "outputs": [{"name": "dense", "datatype": "FP32"}]}'),
        ("grpc", b""),
        ("grpc", b"xyz"),
        ("grpc", b"\xff\xff\xff\xff"),
    ],
)
def test_unreadable_answer_is_a_contract_error(protocol, body):
    """Success with a body that is none of Triton's."""
    with pytest.raises(ContractError):
        run(protocol, Behaviour(raw_body=body), encode)


@PROTOCOLS
def test_server_that_comes_back_is_found_again(protocol):
    """A restart behind the same address is noticed within the retries of one call."""

    async def main():
        port = free_port()
        url = f"{'http' if protocol == 'http' else 'grpc'}://localhost:{port}"
        retries = RetryPolicy(attempts=40, initial_backoff_seconds=0.05, max_backoff_seconds=0.1)

        async with AsyncClient(url, retries=retries) as client:
            call = asyncio.create_task(client.encode(["a"]))
            await asyncio.sleep(0.1)
            async with SERVERS[protocol](Behaviour(), port=port):
                started = time.monotonic()
                await call
                return time.monotonic() - started

    # Left to itself, gRPC connects again after 1, 1.6, 2.6 ... 120 seconds.
    assert asyncio.run(main()) < 0.6


@PROTOCOLS
def test_closing_ends_requests_under_way(protocol):
    """With an error that says why: a closed channel looks like a cancelled task otherwise."""

    async def main():
        behaviour = Behaviour(delay_seconds=30)
        async with SERVERS[protocol](behaviour) as url:
            client = AsyncClient(url)
            call = asyncio.create_task(client.encode(["a"]))
            while not behaviour.headers:
                await asyncio.sleep(0.005)
            await client.close()
            await call

    with pytest.raises(ClientClosedError):
        asyncio.run(main())


@PROTOCOLS
def test_cancelled_request_is_a_cancellation(protocol):
    """Cancelling the caller's task is not turned into an error of ours."""

    async def cancelled(client):
        call = asyncio.create_task(client.encode(["a"]))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    run(protocol, Behaviour(delay_seconds=2), cancelled)


def run_encrypted(protocol, certificate, tls, *, ask_for_client=False):
    """Send a request to an encrypted server whose certificate signs itself."""
    certificate_file, key_file = certificate

    async def main():
        if protocol == "grpc":
            credentials = grpc.ssl_server_credentials(
                [(key_file.read_bytes(), certificate_file.read_bytes())],
                certificate_file.read_bytes() if ask_for_client else None,
                ask_for_client,
            )
            server = grpc_server(Behaviour(), credentials)
        else:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate_file, key_file)
            if ask_for_client:
                context.load_verify_locations(certificate_file)
                context.verify_mode = ssl.CERT_REQUIRED
            server = http_server(Behaviour(), context)
        async with server as url:
            scheme = "grpcs" if protocol == "grpc" else "https"
            url = f"{scheme}://{url.rpartition('/')[2]}"
            async with AsyncClient(url, tls=tls, retries=ONCE) as client:
                return await client.encode(["a"], timeout_seconds=20)

    return asyncio.run(main())


@PROTOCOLS
def test_encrypted_connection_checks_the_certificate(protocol, certificate):
    """A certificate nobody vouches for is refused unless it is named."""
    assert 1 == len(run_encrypted(protocol, certificate, TLS(root_certificates=certificate[0])))
    with pytest.raises(UnavailableError):
        run_encrypted(protocol, certificate, True)


def test_insecure_connection_takes_any_certificate(certificate):
    """Over HTTP, for trying things out."""
    assert 1 == len(run_encrypted("http", certificate, TLS(insecure=True)))


@PROTOCOLS
def test_client_certificate_is_shown(protocol, certificate):
    """A server that asks for one gets it, and refuses who has none."""
    own = TLS(certificate[0], client_certificate=certificate[0], client_key=certificate[1])

    assert 1 == len(run_encrypted(protocol, certificate, own, ask_for_client=True))
    with pytest.raises(UnavailableError):
        run_encrypted(protocol, certificate, TLS(certificate[0]), ask_for_client=True)


@PROTOCOLS
def test_access_is_refused_by_code(protocol):
    """What a gateway or a restricted API answers to wrong credentials."""
    code = {"grpc": grpc.StatusCode.UNAUTHENTICATED, "http": 401}[protocol]

    with pytest.raises(AccessError):
        run(protocol, Behaviour(code=code), encode)
