"""Several servers: who is free works, who fails rests, and all serve one version."""

from __future__ import annotations

import json

import pytest
from corpus_run import CorpusCommand

import bgem3_retrieval.bulk.command
from bgem3_client import (
    FakeTransport,
    InferRequest,
    InferResponse,
    InternalServerError,
    ModelNotFoundError,
    UnavailableError,
)
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.bulk.corpus import endpoint_pool
from bgem3_retrieval.bulk.corpus import run as run_module

URLS = ("--url", "a:8001,b:8001")
TEXTS = 400


@pytest.fixture
def corpus(corpus_command: CorpusCommand, monkeypatch: pytest.MonkeyPatch) -> CorpusCommand:
    """A corpus, and servers that rest for a moment only."""
    lines = [json.dumps({"id": str(i), "text": f"text {i}"}) for i in range(TEXTS)]
    (corpus_command.folder / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    rests = RetryPolicy(attempts=8, initial_backoff_seconds=0.02, max_backoff_seconds=0.05)
    settings = endpoint_pool.PoolSettings

    def impatient(in_flight: int, timeout_seconds: float) -> endpoint_pool.PoolSettings:
        return settings(in_flight, timeout_seconds, rests)

    monkeypatch.setattr(run_module, "PoolSettings", impatient)
    monkeypatch.setattr(run_module, "READY_SECONDS", 0.2)
    return corpus_command


class Server(FakeTransport):
    """Fails between two of its requests, the first of which asks whether it is ready."""

    def __init__(
        self,
        error: Exception | None = None,
        first: int = 0,
        last: int = 10**9,
        version: str = "1",
        delay_seconds: float = 0.002,
    ) -> None:
        super().__init__(delay_seconds=delay_seconds)
        self.error = error
        self.failing = range(first, last)
        self.version = version
        self.count = 0
        self.texts = 0

    async def infer(self, request: InferRequest) -> InferResponse:
        self.count += 1
        if self.error is not None and self.count in self.failing:
            raise self.error
        response = await super().infer(request)
        self.texts += len(request.texts) * (request.texts != (b"ready?",))
        return InferResponse(response.tensors, self.version)


def run(corpus: CorpusCommand, *servers: FakeTransport) -> tuple[int, str]:
    """Run with these servers; return the exit code and what was said."""
    corpus.transports = dict(zip(["a:8001", "b:8001"], servers, strict=False))
    arguments = ("--batch-texts", "2", "--shard-texts", "100")
    outcome = corpus("a.jsonl", *arguments, *(URLS if len(servers) > 1 else ("--url", "a:8001")))
    return outcome.exit_code, outcome.stderr


def ids(corpus: CorpusCommand) -> list[str]:
    """Return the ids in the shards."""
    found: list[str] = corpus.table()["id"].to_pylist()
    return found


ALL = [str(i) for i in range(TEXTS)]


def test_who_is_free_takes_the_next(corpus: CorpusCommand) -> None:
    """A server five times as slow gets less, and the rows are in order all the same."""
    fast, slow = Server(delay_seconds=0.002), Server(delay_seconds=0.02)
    code, said = run(corpus, fast, slow)

    assert 0 == code, said
    assert ALL == ids(corpus)
    assert TEXTS == fast.texts + slow.texts
    assert 0 < slow.texts < fast.texts


def test_one_that_fails_rests_and_comes_back(corpus: CorpusCommand) -> None:
    """The other goes on; what had failed is encoded once."""
    failing = Server(UnavailableError("it is gone"), first=10, last=20)
    other = Server(delay_seconds=0.03)
    code, said = run(corpus, failing, other)

    assert 0 == code, said
    assert ALL == ids(corpus)
    assert TEXTS == failing.texts + other.texts
    assert "a:8001 rests, the others go on: it is gone" in said
    assert "a:8001 is back" in said


def test_one_that_fails_for_good_is_done_without(corpus: CorpusCommand) -> None:
    """Whatever its errors are."""
    code, said = run(corpus, Server(InternalServerError("broken"), first=5), Server())

    assert 0 == code, said
    assert ALL == ids(corpus)


def test_one_that_is_not_there_at_the_start_may_come(corpus: CorpusCommand) -> None:
    """Its work begins when it answers."""
    late = Server(UnavailableError("not yet"), first=0, last=8, delay_seconds=0)
    code, said = run(corpus, late, Server(delay_seconds=0.02))

    assert 0 == code, said
    assert ALL == ids(corpus)
    assert "a:8001 rests, the others go on: " in said
    assert late.texts > 0


def test_the_bytes_do_not_tell_who_encoded_them(corpus: CorpusCommand) -> None:
    """Two servers, one of which fails, write what one would."""
    run(corpus, Server())
    expected = corpus.files()
    for path in corpus.out().iterdir():
        path.unlink()
    run(corpus, Server(UnavailableError("gone"), first=10, last=30), Server())

    assert expected == corpus.files()


def test_none_at_the_start_ends_the_command(corpus: CorpusCommand) -> None:
    """With what each of them said; there is no manifest."""
    code, said = run(corpus, Server(UnavailableError("x")), Server(UnavailableError("y")))

    assert 1 == code
    assert "a:8001: " in said
    assert "b:8001: " in said
    assert not corpus.out("_manifest.json").exists()


def test_all_gone_for_long_ends_the_command(corpus: CorpusCommand) -> None:
    """They are waited for first; whole shards stay, and the next run goes on."""
    code, said = run(corpus, *(Server(UnavailableError("gone"), first=40) for _ in "ab"))
    shards = corpus.manifest()["shards"]
    again, _ = run(corpus, Server(), Server())

    assert 1 == code
    assert "error: gone" in said
    assert len(shards) < 4
    assert 0 == again
    assert ALL == ids(corpus)


def test_a_single_one_that_comes_back_is_waited_for(corpus: CorpusCommand) -> None:
    """As after a restart."""
    code, said = run(corpus, Server(UnavailableError("restarting"), first=20, last=24))

    assert 0 == code, said
    assert "a:8001: restarting; waiting for it" in said
    assert "a:8001 is back" in said
    assert ALL == ids(corpus)


def test_one_that_fails_now_and_then_is_never_given_up(corpus: CorpusCommand) -> None:
    """Failures count until the next answer."""

    class Shaky(Server):
        async def infer(self, request: InferRequest) -> InferResponse:
            if self.count % 15 == 14 and request.texts != (b"ready?",):
                self.count += 1
                raise UnavailableError("a moment")
            return await super().infer(request)

    code, said = run(corpus, Shaky())

    assert 0 == code, said
    assert said.count("waiting for it") > 8
    assert ALL == ids(corpus)


def test_what_waiting_does_not_mend_ends_the_command_at_once(corpus: CorpusCommand) -> None:
    """A model that is not there is not waited for when there is no other server."""
    code, said = run(corpus, Server(ModelNotFoundError("no model 'bge_m3'"), first=20))

    assert 1 == code
    assert "error: no model 'bge_m3'" in said


def test_one_that_may_come_back_is_waited_for_when_another_will_not(
    corpus: CorpusCommand,
) -> None:
    """One without the model does not end what the other can finish."""
    never = Server(ModelNotFoundError("no model 'bge_m3'"), first=5)
    code, said = run(corpus, never, Server(UnavailableError("restarting"), first=20, last=24))

    assert 0 == code, said
    assert ALL == ids(corpus)


def test_one_that_answers_nothing_but_questions_ends_the_command(corpus: CorpusCommand) -> None:
    """It looks as if it were there, and takes no work: not for ever."""

    class Busy(Server):
        async def infer(self, request: InferRequest) -> InferResponse:
            if request.texts != (b"ready?",):
                raise UnavailableError("too busy")
            return await super().infer(request)

    code, said = run(corpus, Busy())

    assert 1 == code
    assert "error: too busy" in said


def test_a_request_that_servers_always_fail_at_ends_the_command(corpus: CorpusCommand) -> None:
    """It does not go round for ever, though they answer everything else."""
    tries = []

    class Allergic(Server):
        async def infer(self, request: InferRequest) -> InferResponse:
            if b"text 77" in request.texts:
                tries.append(request)
                raise InternalServerError("that text again")
            return await super().infer(request)

    code, said = run(corpus, Allergic(), Allergic())

    assert 1 == code
    assert 3 == len(tries)
    assert "error: that text again" in said


def test_unlike_versions_are_refused_at_the_start(corpus: CorpusCommand) -> None:
    """Their vectors do not go together."""
    code, said = run(corpus, Server(), Server(version="2"))

    assert 1 == code
    assert "a:8001 serves bge_m3 version 1 (16 dimensions)" in said
    assert "b:8001 serves bge_m3 version 2 (16 dimensions)" in said


def test_one_that_changes_its_version_is_done_without(corpus: CorpusCommand) -> None:
    """Nothing of the other version gets into the shards."""

    class Changing(Server):
        async def infer(self, request: InferRequest) -> InferResponse:
            response = await super().infer(request)
            return InferResponse(response.tensors, "1" if self.count < 20 else "2")

    changing = Changing()
    code, said = run(corpus, changing, Server(delay_seconds=0.005))

    assert 0 == code, said
    assert ALL == ids(corpus)
    assert "changed the model's version from 1 to 2" in said


def test_outside_a_folder_one_server_is_all(corpus: CorpusCommand) -> None:
    """It is said, and not passed over."""
    from click.testing import CliRunner

    command = bgem3_retrieval.bulk.command.encode
    outcome = CliRunner().invoke(command, ["a.jsonl", *URLS, "-o", "x.jsonl"])

    assert 2 == outcome.exit_code
    assert "several servers: the output must be a folder" in outcome.stderr
