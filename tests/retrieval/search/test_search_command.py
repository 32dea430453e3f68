"""``bgem3 search``: what people and programs read, and exit codes."""

from __future__ import annotations

import os
import re
from io import StringIO
from typing import Any

import jsonschema
import pytest
from memory_store import MemoryStore
from rich.console import Console
from search_run import SearchCommand
from search_texts import COLLECTION, fill, stored

import bgem3_retrieval.search.command
from bgem3_client import Client, FakeTransport, InternalServerError
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.search.answer import SearchAnswer
from bgem3_retrieval.search.display import Display, OutputConsole
from bgem3_retrieval.search.marks import Mark
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.search.result import Hit, Part, SearchResult, Timings, TokenContribution
from bgem3_retrieval.stores.point import StoredChunk

TEXTS = [
    "how to reset a lost password",
    "the weather is fine today",
    "a password must have twelve letters",
]

TIMINGS = Timings(0.0101, 0.0042, 0.0053, 0.0004, 0.02)
PASSAGE = (
    "Passwords are changed every year. Who has lost a password resets it on the page of the "
    "account; the old one is asked for no more. 忘记密码时，请在账户页面重置密码。Nobody is called."
)


def result_of(text: str = PASSAGE, **options: Any) -> SearchResult:
    """An answer of two hits with made-up scores."""
    chunk = Chunk(
        "manual.pdf", 3, 100, 100 + len(text), text, ("Accounts", "Passwords"), 30, "The manual", 7
    )
    begin = text.find("password ")
    first = Hit(
        rank=1,
        score=0.6,
        scores={"dense": 0.5, "sparse": 0.25, "colbert": 0.7},
        ranks={"dense": 2, "sparse": 1, "colbert": 1},
        id=stored("a", "b").id,
        stored=StoredChunk(chunk, "state", 4, {"language": "en"}),
        marks=(Mark(begin, begin + 8, 0.25),) if begin >= 0 else (),
        parts={"dense": Part(0.5, 0.35), "sparse": Part(0.25, 0.15), "colbert": Part(0.7, 0.5)},
        tokens=(TokenContribution("password", 0.2), TokenContribution("a", 0.05)),
    )
    second = Hit(
        rank=2,
        score=0.12,
        scores={"dense": 0.3, "sparse": 0.0},
        ranks={"dense": 1},
        id=stored("b", "b").id,
        stored=stored("b.md", "Something else."),
        marks=(),
        parts={"dense": Part(0.3, 0.4), "sparse": Part(0.0, 0.6)},
        tokens=(),
    )
    return SearchResult(
        "lost password", COLLECTION, (first, second), 20, 20, SearchOptions(**options), TIMINGS
    )


def shown(result: SearchResult, **options: Any) -> str:
    """What is printed where no terminal is."""
    stream = StringIO()
    display = {"full": False, "explain": False} | options
    Display(Console(file=stream, width=80, highlight=False), **display).show(result)
    return stream.getvalue()


def test_output_for_people() -> None:
    """Where, how good, and the passage around its words; plain, and nothing behind a line's end."""
    assert """\
1   0.600  manual.pdf · page 7 · The manual > Accounts > Passwords
    dense 0.500  sparse 0.250  ColBERT 0.700
    Passwords are changed every year. Who has lost a password resets it on the
    page of the account; the old one is asked for no more. 忘记密码时，请在账户
    页面重置密码。Nobody is called.

2   0.120  b.md
    dense 0.300  sparse 0.000
    Something else.
""" == shown(result_of())


def test_explained_output() -> None:
    """What each representation gives to the score, each token to the sparse score, and the time."""
    assert """\
1   0.600  manual.pdf · page 7 · The manual > Accounts > Passwords
    Passwords are changed every year. Who has lost a password resets it on the
    page of the account; the old one is asked for no more. 忘记密码时，请在账户
    页面重置密码。Nobody is called.
             rank   score  weight    part
    dense       2  0.5000    0.35  0.1750
    sparse      1  0.2500    0.15  0.0375
    ColBERT     1  0.7000     0.5  0.3500
                                   0.6000
    shared tokens: password 0.2000, a 0.0500

2   0.120  b.md
    Something else.
            rank   score  weight    part
    dense      1  0.3000     0.4  0.1200
    sparse     -  0.0000     0.6  0.0000
                                  0.1200
    shared tokens: none

notes: hybrid (weighted); 20 candidates, 20 re-ranked by ColBERT
encode 10.1 ms, candidates 4.2 ms, scores 5.3 ms, fuse and mark 0.4 ms, total 20.0 ms
""" == shown(result_of(), explain=True)


def test_what_is_weighted_instead_of_the_score_has_a_column() -> None:
    """And small scores have more digits."""
    rrf = shown(result_of(fusion="rrf"), explain=True)
    query = shown(result_of(normalization="query"), explain=True)

    assert "1   0.6000  manual.pdf" in rrf
    assert "rank   score  1/(60+rank)  weight    part\n" in rrf
    assert "rank   score  normalized  weight    part\n" in query
    assert "notes: hybrid (weighted, query); 20 candidates" in query


def test_full_passages_keep_their_lines() -> None:
    """However long they are."""
    text = "one\n  two\n\n" + "three " * 100
    output = shown(result_of(text), full=True)

    assert "\n    one\n      two\n    \n    three three" in output
    assert 100 == output.count("three")


def test_words_are_underlined_on_a_terminal() -> None:
    """Only the matched ones."""
    stream = StringIO()
    console = Console(file=stream, width=80, highlight=False, force_terminal=True, no_color=True)
    Display(console, full=False, explain=False).show(result_of())

    assert ["password"] == re.findall(r"\x1b\[1;4m(.*?)\x1b\[0m", stream.getvalue())


def test_documents_do_not_speak_to_the_terminal() -> None:
    """Escape sequences and the like come out as replacement characters."""
    output = shown(result_of("red \x1b[31m alert\x07 \u202eabc\tdef\r\nend"))

    assert "red \ufffd[31m alert\ufffd \ufffdabc def end" in output


def test_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal's, 120 columns at most, unless said otherwise."""
    widths = []
    for columns in ("90", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        widths += [OutputConsole(None).width, OutputConsole(200).width]

    assert [90, 200, 120, 200] == widths


@pytest.fixture
def passages(memory: MemoryStore) -> None:
    """Three passages in the collection ``notes``."""
    with Client(transport=FakeTransport()) as client:
        languages = [{"language": "en", "page": number} for number in range(3)]
        fill(memory, client, TEXTS, metadata=languages)


@pytest.mark.usefixtures("passages")
def test_a_search(search_command: SearchCommand) -> None:
    """The only collection is the default."""
    outcome = search_command("reset my password", "-n", "1")

    assert (0, "") == (outcome.exit_code, outcome.stderr)
    assert re.fullmatch(
        r"1   0\.\d{3}  a\n    dense 0\.\d{3}  sparse 0\.\d{3}  ColBERT 0\.\d{3}\n"
        r"    how to reset a lost password\n",
        outcome.stdout,
    )


@pytest.mark.usefixtures("passages")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_stops_reading(
    search_command: SearchCommand, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """It ends as programs do whose pipe breaks, and says nothing."""

    class Closed(StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return os.open(os.devnull, os.O_WRONLY)

    search = bgem3_retrieval.search.command._search

    def closed(options: dict[str, Any]) -> None:
        monkeypatch.setattr("sys.stdout", Closed())
        search(options)

    monkeypatch.setattr(bgem3_retrieval.search.command, "_search", closed)
    outcome = search_command("reset", *options)

    assert (141, "", "") == (outcome.exit_code, outcome.stdout, outcome.stderr)


def test_an_interrupt_ends_it_as_shells_expect(
    search_command: SearchCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a word, and without a trace of Python."""

    def interrupted(options: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bgem3_retrieval.search.command, "_search", interrupted)
    outcome = search_command("reset")

    assert (130, "", "interrupted\n") == (outcome.exit_code, outcome.stdout, outcome.stderr)


@pytest.mark.usefixtures("passages")
def test_json_is_what_its_schema_says(search_command: SearchCommand) -> None:
    """Fields may be added, none is left out."""
    (answer,) = search_command("reset my password", "--json", "--explain").json_lines
    jsonschema.validate(answer, SearchAnswer.model_json_schema())
    first, *_ = answer["hits"]

    assert [
        "query",
        "collection",
        "mode",
        "fusion",
        "candidates",
        "reranked",
        "hits",
        "milliseconds",
    ] == list(answer)
    assert ["rank", "score", "scores", "ranks", "id", "source", "title", "page"] == list(first)[:8]
    assert ["headings", "position", "begin", "end", "text", "metadata", "marks", "explanation"] == (
        list(first)[8:]
    )
    assert {"encode", "candidates", "scores", "fuse", "total"} == set(answer["milliseconds"])
    assert ("reset my password", COLLECTION, 3, 3) == (
        answer["query"],
        answer["collection"],
        answer["candidates"],
        answer["reranked"],
    )
    assert ["reset", "password"] == [
        first["text"][mark["begin"] : mark["end"]] for mark in first["marks"]
    ]
    parts = first["explanation"]["parts"].values()
    assert pytest.approx(first["score"]) == sum(part["value"] * part["weight"] for part in parts)
    assert {"reset", "password"} == {token["text"] for token in first["explanation"]["tokens"]}


@pytest.mark.usefixtures("passages")
def test_queries_from_standard_input(search_command: SearchCommand) -> None:
    """One answer a line, in order."""
    outcome = search_command("-", stdin="reset\r\n天气 weather\n".encode())

    assert ["reset", "天气 weather"] == [answer["query"] for answer in outcome.json_lines]
    assert [None, None] == [answer["hits"][0]["explanation"] for answer in outcome.json_lines]


@pytest.mark.usefixtures("passages")
def test_a_bad_line_ends_it(search_command: SearchCommand) -> None:
    """With its number; what came before is answered."""
    empty = search_command("-", stdin=b"reset\n\nweather\n")
    binary = search_command("-", stdin=b"reset\n\xff\n")

    assert (2, 1) == (empty.exit_code, len(empty.json_lines))
    assert "error: standard input, line 2: the query is empty" in empty.stderr
    assert (2, "error: standard input, line 2: not UTF-8\n") == (binary.exit_code, binary.stderr)


@pytest.mark.usefixtures("passages")
def test_options_reach_the_search(search_command: SearchCommand) -> None:
    """Each of them changes the answer as it should."""

    def answer(*options: str) -> dict[str, Any]:
        outcome = search_command("reset password", "--json", *options)
        assert "" == outcome.stderr
        return outcome.json_lines[0]

    assert ["a"] == [hit["source"] for hit in answer("--limit", "1")["hits"]]
    assert ("sparse", 2) == (
        answer("--mode", "sparse")["mode"],
        answer("--mode", "sparse")["candidates"],
    )
    assert "rrf" == answer("--fusion", "rrf", "--no-rerank")["fusion"]
    assert 0 == answer("--no-rerank")["reranked"]
    assert 1 == answer("--rerank-candidates", "1", "-n", "1")["reranked"]
    filtered = answer("--where", "language==en", "--where", "source in (b, c)")
    assert {"b", "c"} == {hit["source"] for hit in filtered["hits"]}
    (first, *_) = answer("--weights", "0,2", "--explain", "--colbert-weight", "0")["hits"]
    assert {"dense": 0.0, "sparse": 1.0, "colbert": 0.0} == {
        name: part["weight"] for name, part in first["explanation"]["parts"].items()
    }
    (first, *_) = answer("--normalization", "minmax", "--explain", "--no-rerank")["hits"]
    assert 1.0 == first["explanation"]["parts"]["sparse"]["value"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--where", "page=3"),
            "expected ==, !=, <, <=, >, >= or in; did you mean ==?\n  page=3\n",
        ),
        (("--weights", "1"), "'1' is not two numbers: dense, sparse, as in 0.7,0.3"),
        (("--weights", "1,1", "--fusion", "rrf"), "--fusion rrf looks at ranks"),
        (("--limit", "0"), "limit is 0; it must be from 1 to 10,000"),
        (("--limit", "9", "--candidates", "5"), "candidates is 5; it must be from 9 (the limit)"),
        (("-c", "note"), "memory has no collection 'note': did you mean notes?"),
        (("--mode", "fastest"), "'fastest' is not one of"),
    ],
)
@pytest.mark.usefixtures("passages")
def test_mistakes_end_with_2(
    search_command: SearchCommand, options: tuple[str, ...], message: str
) -> None:
    """And say what is wrong."""
    outcome = search_command("reset", *options)

    assert (2, "") == (outcome.exit_code, outcome.stdout)
    assert message in outcome.stderr


@pytest.mark.usefixtures("passages")
def test_which_collection(search_command: SearchCommand, fake_client: Client) -> None:
    """Of several one has to be named; without any, that is said."""
    fill(search_command.store, fake_client, [], name="other")
    several = search_command("reset")
    for name in ("notes", "other"):
        search_command.store.drop(name)
    none = search_command("reset")

    assert (2, "error: memory has several collections: name one of notes, other\n") == (
        several.exit_code,
        several.stderr,
    )
    assert 2 == none.exit_code
    assert "memory has no collection yet: make one with 'bgem3 index" in none.stderr


@pytest.mark.usefixtures("passages")
def test_nothing_found_is_an_answer(search_command: SearchCommand, fake_client: Client) -> None:
    """With the reason, as far as there is one to see."""
    fill(search_command.store, fake_client, [], name="empty")
    outcomes = [
        search_command("reset", "-c", "notes", "--where", "language==zh"),
        search_command("reset", "-c", "notes", "--min-score", "2"),
        search_command("zebra", "-c", "notes", "--mode", "sparse"),
        search_command("reset", "-c", "empty"),
    ]

    assert [(0, "")] * 4 == [(outcome.exit_code, outcome.stdout) for outcome in outcomes]
    assert [
        "nothing found in 'notes' of which all conditions of --where hold\n",
        "nothing found in 'notes' with a score of 2 or more\n",
        "nothing found in 'notes'\n",
        "collection 'empty' is empty: fill it with 'bgem3 index PATH --collection empty'\n",
    ] == [outcome.stderr for outcome in outcomes]


@pytest.mark.usefixtures("passages")
def test_a_server_that_fails_ends_with_1(
    search_command: SearchCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is the server's."""

    def connect(url: str) -> Client:
        return Client(transport=FakeTransport(script=[None, InternalServerError("broken")]))

    monkeypatch.setattr(bgem3_retrieval.search.command, "connect", connect)
    outcome = search_command("reset")

    assert (1, "", "error: broken\n") == (outcome.exit_code, outcome.stdout, outcome.stderr)
