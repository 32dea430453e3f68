"""Results of texts that come again: which are there, for whom, and for how long."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from bgem3_client import AsyncClient, Embeddings, FakeTransport
from bgem3_client.embeddings import Embedding
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.transports import InferRequest, InferResponse
from bgem3_server.gateway.calls.caching import Caching, cache_status, read_caching
from bgem3_server.gateway.encoding.one_text import put_together
from bgem3_server.gateway.encoding.result_cache import ResultCache
from bgem3_server.gateway.operations.metrics import Metrics

DENSE = EncodeOptions()
SPARSE = EncodeOptions(frozenset({"sparse"}))
COLBERT = EncodeOptions(frozenset({"colbert"}))
ALL = EncodeOptions(
    frozenset({"dense", "sparse", "colbert"}), return_tokens=True, return_hidden_states=True
)


class Bench:
    """A cache, and a model that fills it."""

    def __init__(self, limit_bytes: int = 1_000_000, hidden_size: int = 16) -> None:
        self.registry = CollectorRegistry()
        self.cache = ResultCache(limit_bytes, Metrics(self.registry))
        self.hidden_size = hidden_size

    def embeddings(
        self, texts: Sequence[str], options: EncodeOptions = DENSE, version: str = "1"
    ) -> Embeddings:
        """What a version of the model answers."""

        class Transport(FakeTransport):
            async def infer(self, request: InferRequest) -> InferResponse:
                answer = await super().infer(request)
                return InferResponse(answer.tensors, version)

        async def encode() -> Embeddings:
            transport = Transport(hidden_size=self.hidden_size, colbert_size=self.hidden_size)
            async with AsyncClient(transport=transport) as client:
                return await client.encode(
                    texts,
                    options.outputs,
                    max_length=options.max_length,
                    return_tokens=options.return_tokens,
                    return_hidden_states=options.return_hidden_states,
                    colbert_dtype=options.colbert_dtype,
                )

        return asyncio.run(encode())

    def fill(
        self, texts: Sequence[str], options: EncodeOptions = DENSE, version: str = "1"
    ) -> Embeddings:
        """Compute texts and keep them."""
        embeddings = self.embeddings(texts, options, version)
        self.cache.keep(texts, embeddings, options)
        return embeddings

    def find(self, texts: Sequence[str], options: EncodeOptions = DENSE) -> dict[str, Embedding]:
        """What is there."""
        return self.cache.find(texts, options)

    def metric(self, name: str) -> float | None:
        """The value of a metric."""
        return self.registry.get_sample_value(name)


def test_what_was_computed_is_found_as_it_was():
    """All representations, in the order that they are asked for, read-only."""
    bench = Bench()
    texts = ["one two", "three", "four five six"]
    computed = bench.fill(texts, ALL)
    found = bench.find(["three", "new", "one two"], ALL)
    together = put_together([found["three"], found["one two"]])

    assert {"three", "one two"} == found.keys()
    assert "1" == together.model_version
    for expected, text in zip((computed[1], computed[0]), together, strict=True):
        np.testing.assert_array_equal(expected.dense, text.dense)
        np.testing.assert_array_equal(expected.sparse.indices, text.sparse.indices)
        np.testing.assert_array_equal(expected.sparse.values, text.sparse.values)
        np.testing.assert_array_equal(expected.colbert, text.colbert)
        np.testing.assert_array_equal(expected.hidden_states, text.hidden_states)
        np.testing.assert_array_equal(expected.token_ids, text.token_ids)
        assert expected.tokens == text.tokens
        assert expected.sparse.tokens() == text.sparse.tokens()
        assert expected.token_length == text.token_length
        assert not text.dense.flags.writeable
        assert not text.token_ids.flags.writeable


@pytest.mark.parametrize("options", [DENSE, SPARSE, COLBERT])
def test_answer_with_all_outputs_serves_requests_for_some(options):
    """Each representation is there by itself; nothing else is in the answer."""
    bench = Bench()
    computed = bench.fill(["one two"], ALL)
    found = bench.find(["one two"], options)["one two"]
    parts = found.embeddings.parts

    for output in ("dense", "sparse", "colbert"):
        assert (output in options.outputs) == (getattr(parts, output) is not None)
    if "dense" in options.outputs:
        np.testing.assert_array_equal(computed.dense[0], found.dense)


def test_answer_with_some_outputs_does_not_serve_a_request_for_more():
    """Until the rest is computed too."""
    bench = Bench()
    bench.fill(["a"], DENSE)
    both = EncodeOptions(frozenset({"dense", "sparse"}))

    assert {} == bench.find(["a"], both)
    bench.fill(["a"], SPARSE)
    assert {"a"} == bench.find(["a"], both).keys()


@pytest.mark.parametrize(
    "options",
    [
        EncodeOptions(max_length=3),
        EncodeOptions(frozenset({"colbert"}), colbert_dtype="float16"),
    ],
    ids=["max_length", "colbert_dtype"],
)
def test_parameters_belong_to_the_result(options):
    """What was computed with others is not taken for it."""
    bench = Bench()
    bench.fill(["one two three"], ALL)

    assert {} == bench.find(["one two three"], options)
    bench.fill(["one two three"], options)
    assert 1 == len(bench.find(["one two three"], options))


def test_text_that_was_cut_is_not_there_for_whoever_forbids_it():
    """So that the request is refused as ever; a text that was not cut is there for both."""
    bench = Bench()
    cut = EncodeOptions(max_length=4)
    bench.fill(["one two three four", "one"], cut)
    uncut = EncodeOptions(max_length=4, truncate=False)

    assert [True, False] == [
        t.truncated for t in bench.find(["one two three four", "one"], cut).values()
    ]
    assert {"one"} == bench.find(["one two three four", "one"], uncut).keys()


def test_new_version_of_the_model_empties_the_cache():
    """No result of another version is ever found, whichever is the newer one."""
    bench = Bench()
    bench.fill(["a", "b"], version="1")
    bench.fill(["c"], version="2")

    assert {"c"} == bench.find(["a", "b", "c"]).keys()
    assert "2" == bench.find(["c"])["c"].embeddings.model_version
    bench.cache.see_probe(bench.embeddings(["ready?"], version="1"))
    assert 0 == len(bench.cache)


def test_other_model_of_the_same_version_empties_the_cache():
    """As when Triton was started again with another repository: its vectors give it away."""
    bench = Bench()
    probe = bench.embeddings(["ready?"])
    bench.cache.see_probe(probe)
    bench.fill(["a"])
    bench.cache.see_probe(bench.embeddings(["ready?"]))
    assert 1 == len(bench.cache)

    bench.cache.see_probe(bench.embeddings(["another text, for another model's vector"]))
    assert 0 == len(bench.cache)
    bench.fill(["a"])
    bench.hidden_size = 32
    bench.cache.see_probe(bench.embeddings(["another text, for another model's vector"]))
    assert 0 == len(bench.cache)


def test_rounding_of_one_model_is_no_other_model():
    """A vector that differs as those of half precision do leaves everything in place."""
    bench = Bench(hidden_size=1024)
    probe = bench.embeddings(["ready?"])
    bench.cache.see_probe(probe)
    bench.fill(["a"])
    noise = np.random.default_rng(0).normal(size=1024) * 0.01 / 32  # cosine 0.99995
    vector = (probe.dense + noise).astype(np.float32)
    noisy = Embeddings(
        probe.token_lengths,
        probe.truncated,
        "1",
        type(probe.parts)(dense=vector / np.linalg.norm(vector)),
    )
    bench.cache.see_probe(noisy)

    assert 1 == len(bench.cache)


def test_what_was_used_last_stays():
    """Within the bytes that are allowed; what goes is counted."""
    bench = Bench(limit_bytes=20_000, hidden_size=1024)  # four vectors of 4 KB
    bench.fill(["a", "b", "c", "d"])
    assert 0 == bench.metric("bgem3_cache_evictions_total")
    bench.find(["a"])
    bench.fill(["e", "f"])

    assert {"a", "d", "e", "f"} == bench.find(["a", "b", "c", "d", "e", "f"]).keys()
    assert 2 == bench.metric("bgem3_cache_evictions_total")
    assert 16_384 < bench.cache.used_bytes <= 20_000


def test_token_vectors_do_not_push_out_dense_vectors():
    """Beyond half of the room they push out each other; below it they are as good as others."""
    bench = Bench(limit_bytes=100_000, hidden_size=64)
    queries = [f"query {number}" for number in range(20)]
    bench.fill(queries)
    used = bench.cache.used_bytes
    for number in range(20):
        bench.fill([f"{number} " + "word " * 60], COLBERT)  # 16 KB each

    assert set(queries) == bench.find(queries).keys()
    assert 50_000 - 16_000 < bench.cache.used_bytes - used <= 100_000 - used
    assert 1 == len(bench.find(["19 " + "word " * 60], COLBERT))
    bench.fill([f"further {number}" for number in range(250)])
    assert {} == bench.find(queries)
    assert 1 == len(bench.find(["19 " + "word " * 60], COLBERT))


def test_what_is_larger_than_half_of_the_room_is_not_kept():
    """It would push out everything for one text."""
    bench = Bench(limit_bytes=20_000)
    bench.fill(["a"])
    bench.fill(["word " * 200], EncodeOptions(frozenset({"dense", "colbert"})))

    assert 1 == len(bench.find(["a"]))
    assert 1 == len(bench.find(["word " * 200]))
    assert {} == bench.find(["word " * 200], COLBERT)


@pytest.mark.parametrize("options", [DENSE, SPARSE, ALL], ids=["dense", "sparse", "all"])
def test_bytes_are_what_python_takes(options):
    """Objects, keys and the strings of tokens included; not more than a fifth too many."""
    bench = Bench(limit_bytes=100_000_000)
    texts = [f"text number {number} of some" for number in range(1000)]
    embeddings = bench.embeddings(texts, options)
    gc.collect()
    tracemalloc.start()
    try:
        bench.cache.keep(texts, embeddings, options)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.8 < taken / bench.cache.used_bytes < 1.05


def test_kept_results_hold_nothing_else_in_memory():
    """They are copies, not views of the answer that they came with."""
    bench = Bench()
    bench.fill(["a", "word " * 100], ALL)
    text = bench.find(["a"], ALL)["a"]

    for array in (text.dense, text.sparse.values, text.colbert, text.hidden_states, text.token_ids):
        owner = array if array.base is None else array.base
        assert owner.nbytes == array.nbytes


def test_hits_and_misses_are_counted():
    """By text."""
    bench = Bench()
    bench.find(["a", "b"])
    bench.fill(["a", "b"])
    bench.find(["a", "b", "c"])

    assert 2 == bench.metric("bgem3_cache_hits_total")
    assert 3 == bench.metric("bgem3_cache_misses_total")


def test_without_room_nothing_is_kept_or_counted():
    """A limit of 0 turns it off."""
    bench = Bench(limit_bytes=0)
    bench.fill(["a"])

    assert {} == bench.find(["a"])
    assert 0 == len(bench.cache) == bench.metric("bgem3_cache_misses_total")


@pytest.mark.parametrize(
    ("header", "caching"),
    [
        ("", Caching.SHARED),
        ("max-age=60, no-transform", Caching.SHARED),
        ("no-cache", Caching.FRESH),
        ("No-Cache", Caching.FRESH),
        ("max-age=0", Caching.FRESH),
        ("no-store", Caching.PRIVATE),
        ("no-cache, no-store", Caching.PRIVATE),
        ("no-cache,max-age=0 , no-store", Caching.PRIVATE),
    ],
)
def test_cache_control(header, caching):
    """HTTP's own words; those that mean nothing here are left out."""
    assert caching is read_caching(header)


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ((Caching.SHARED, 2, 2, 0), "bgem3; hit"),
        ((Caching.SHARED, 2, 1, 0), "bgem3; fwd=partial"),
        ((Caching.SHARED, 2, 0, 0), "bgem3; fwd=miss"),
        ((Caching.SHARED, 2, 0, 1), "bgem3; fwd=miss; collapsed"),
        ((Caching.FRESH, 2, 0, 0), "bgem3; fwd=request"),
        ((Caching.PRIVATE, 2, 0, 1), "bgem3; fwd=request; collapsed"),
    ],
)
def test_cache_status(counts, status):
    """As RFC 9211 has it."""
    assert status == cache_status(*counts)
