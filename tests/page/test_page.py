"""The page, used by clicking and by keyboard, in a headless Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from compare_page import ComparePage
from selenium.webdriver.common.keys import Keys

from bgem3_client import Client, Embeddings, colbert_score, dense_score, lexical_score

pytestmark = pytest.mark.live

QUERY = "how to run python unit tests"
PASSAGES = (
    "Run the test suite with python -m unittest discover.",
    "用 pytest 执行单元测试：在项目根目录输入 pytest 即可。",
    "The python is a large snake that is not venomous.",
    "A unit of length, the metre, is defined by the speed of light.",
)
# Three digits are shown, of what was computed from float16.
TOLERANCE = 0.0015


@pytest.fixture
def compared(page: ComparePage, page_url: str) -> ComparePage:
    """The page with an answer for the query and the passages above."""
    page.open(page_url)
    page.fill(QUERY, PASSAGES)
    page.compare()
    assert "" == page.notice
    return page


@pytest.fixture(scope="module")
def reference(client: Client) -> Embeddings:
    """The same texts, in float32, from Triton itself."""
    return client.encode([QUERY, *PASSAGES], {"dense", "sparse", "colbert"}, return_tokens=True)


def descending(scores: Sequence[float]) -> list[int]:
    """The passages' numbers, best first."""
    return [1 + int(position) for position in np.argsort(-np.asarray(scores), kind="stable")]


def test_scores_and_ranks_are_those_of_the_client(compared: ComparePage, reference: Embeddings):
    """All four columns, computed by the browser, equal what Python computes."""
    query, passages = reference[0], [reference[1 + i] for i in range(len(PASSAGES))]
    expected = {
        "dense": [dense_score(query.dense, passage.dense) for passage in passages],
        "sparse": [lexical_score(query.sparse, passage.sparse) for passage in passages],
        "colbert": [colbert_score(query.colbert, passage.colbert) for passage in passages],
    }
    expected["hybrid"] = [
        0.4 * dense + 0.2 * sparse + 0.4 * colbert
        for dense, sparse, colbert in zip(*expected.values(), strict=True)
    ]

    assert descending(expected["hybrid"]) == compared.ranked_passages
    for kind, scores in expected.items():
        shown = compared.scores(kind)
        assert scores == pytest.approx([shown[number] for number in range(1, 5)], abs=TOLERANCE)
        ranks = compared.ranks(kind)
        assert descending(scores) == sorted(ranks, key=lambda number: ranks[number])


def test_sliders_rank_anew_without_a_request(compared: ComparePage):
    """With dense and ColBERT moved to 0 by keyboard, the hybrid's order is the sparse order."""
    before = compared.ranked_passages
    sparse = compared.scores("sparse")
    compared.requests()

    compared.move_slider("dense", Keys.HOME)
    compared.move_slider("colbert", Keys.HOME)
    compared.move_slider("sparse", Keys.ARROW_RIGHT, 2)

    by_sparse = sorted(sparse, key=lambda number: -sparse[number])
    assert before != by_sparse
    assert by_sparse == compared.ranked_passages
    assert sparse == compared.scores("hybrid")
    assert "0.30" in compared.one("#formula").text
    assert [] == compared.requests()
    compared.until(lambda: str(by_sparse[0]) in compared.one("#announcement").text)

    compared.move_slider("sparse", Keys.HOME)

    assert ["–"] * 4 == compared.texts("#ranking td[data-kind=hybrid] .value")

    compared.one("#reset").click()

    assert before == compared.ranked_passages


def test_a_column_can_be_sorted_by(compared: ComparePage):
    compared.one("#ranking button[data-kind=sparse]").click()
    scores = list(compared.scores("sparse").values())

    assert sorted(scores, reverse=True) == scores
    assert ["descending"] == compared.attributes("#ranking [aria-sort]", "aria-sort")
    assert "sparse" == compared.focused.get_attribute("data-kind")


def test_matched_words_are_listed_with_their_product(compared: ComparePage, reference: Embeddings):
    """The words that both texts have, with both weights; their products sum to the score."""
    query, passage = reference[0].sparse.tokens(), reference[1].sparse.tokens()
    expected = sorted(
        ((query[word] * passage[word], word) for word in query.keys() & passage.keys()),
        reverse=True,
    )

    rows = "[data-passage='1'] .matches tbody"
    assert [word for _, word in expected] == compared.texts(f"#words {rows} th")
    products = [float(text) for text in compared.texts(f"#words {rows} .product")]
    assert [product for product, _ in expected] == pytest.approx(products, abs=TOLERANCE)
    assert compared.scores("sparse")[1] == pytest.approx(sum(products), abs=0.002)


def test_texts_are_shaded_by_weight(compared: ComparePage, reference: Embeddings):
    """Each token has the weight of its id; matched ones are marked; the text reads as written."""
    weights = reference[0].sparse.tokens()
    tokens = "#words article:first-child .token"

    assert QUERY == compared.texts("#words article:first-child .tokens")[0]
    assert [pytest.approx(weights[token], abs=TOLERANCE) for token in compared.texts(tokens)] == [
        float(weight or 0) for weight in compared.attributes(tokens, "data-weight")
    ]
    shared = set().union(*(reference[1 + i].sparse.tokens() for i in range(4)))
    assert [str(token in shared).lower() for token in compared.texts(tokens)] == (
        compared.attributes(tokens, "aria-selected")
    )


def test_token_weights_are_reached_by_keyboard(compared: ComparePage):
    """Tab enters a text once, arrows move on; the weight is shown and spoken."""
    tokens = compared.all("#words article:first-child .token")
    compared.tab_to(tokens[0])
    compared.press(Keys.ARROW_RIGHT)
    shown = compared.browser.execute_script(
        "return getComputedStyle(document.activeElement, '::after').content"
    )

    assert tokens[1] == compared.focused
    assert f'"{tokens[1].get_attribute("data-weight")}"' == shown
    assert tokens[1].get_attribute("data-weight") in tokens[1].get_attribute("aria-label")


@pytest.mark.parametrize("passage", [1, 2])
def test_heat_map_shows_every_similarity(
    compared: ComparePage, reference: Embeddings, passage: int
):
    """Query token by passage token, with the best of each row marked; the passage is chosen."""
    compared.one("#passage-choice").send_keys(str(passage))
    expected = reference[0].colbert @ reference[passage].colbert.T

    shown = [float(text.split(",")[0]) for text in compared.texts("#heat td.cell")]
    assert expected.ravel() == pytest.approx(shown, abs=0.006)
    # A token that stands for a space is shown as one.
    rows, columns = ([t or "␣" for t in reference[i].tokens[1:]] for i in (0, passage))
    assert rows == compared.texts("#heat tbody th")
    assert columns == compared.texts("#heat .passage-token")
    best = compared.attributes("#heat td.best", "data-column")
    assert expected.argmax(axis=1).tolist() == [int(column or -1) for column in best]
    assert expected.max(axis=1) == pytest.approx(
        [float(text) for text in compared.texts("#heat .best-match .value")], abs=TOLERANCE
    )


def test_heat_map_is_walked_by_arrow_keys(compared: ComparePage):
    cells = {
        (cell.get_attribute("data-row"), cell.get_attribute("data-column")): cell
        for cell in compared.all("#heat td.cell")[:40]
    }
    compared.tab_to(cells["0", "0"])
    compared.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)

    assert cells["1", "1"] == compared.focused
    assert cells["1", "1"].get_attribute("data-readout") == compared.one(".readout").text


def test_long_texts_are_shown_in_parts(page: ComparePage, page_url: str):
    """The heat map turns pages, and the shaded text is cut until all of it is asked for."""
    page.open(page_url)
    page.fill(QUERY, ["unit tests run in python. " * 40])
    page.compare()

    assert 160 >= len(page.all("#words [data-passage] .token")) > 100
    page.one("#words [data-passage] button").click()
    assert len(page.all("#words [data-passage] .token")) > 200
    assert "0" == page.attributes("#heat td.cell", "data-column")[0]
    page.all("#heat .pager button")[1].click()
    assert "64" == page.attributes("#heat td.cell", "data-column")[0]


def test_copied_curl_is_the_request_that_was_sent(page: ComparePage, page_url: str):
    """Pasted into a shell it sends the same body, quotes and all, and gets the same answer."""
    page.open(page_url)
    page.fill('what\'s "that"?', ["It's $HOME, `date` and \\n.", "别的"])
    page.compare()
    tokens = sum(map(int, page.texts("#ranking tbody .count")))
    curl = page.copied("curl")
    answer = json.loads(subprocess.run(["bash", "-c", curl], capture_output=True).stdout)

    assert len(answer["embeddings"]) == 3
    assert tokens == sum(answer["token_lengths"][1:])
    assert answer["tokens"][0][1:-1] == page.texts("#heat tbody th")[:-1]


def test_copied_python_is_the_request_that_was_sent(compared: ComparePage):
    """Run as it is, the program prints the dense scores that the page shows."""
    program = compared.copied("python")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert "" == run.stderr
    dense = compared.scores("dense")
    assert [dense[number] for number in sorted(dense)] == pytest.approx(
        [float(text) for text in run.stdout.strip("[]\n").split()], abs=TOLERANCE
    )


def test_copying_works_without_https(compared: ComparePage):
    """Browsers hide their clipboard from plain HTTP; the older way is then taken."""
    compared.browser.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
    )
    compared.one("[data-program=curl] button").click()

    assert "Copied" == compared.one("[data-program=curl] [role=status]").text
    selected = compared.browser.execute_script("return getSelection().toString()")
    assert compared.texts("[data-program=curl] code") == [selected]


def test_language_is_the_browsers_until_another_is_chosen(page: ComparePage, page_url: str):
    """It begins as the browser prefers; the switch changes all of the page, and is remembered."""
    page.open(page_url, languages="zh-CN,zh;q=0.9,en;q=0.8")

    assert "zh-CN" == page.one("html").get_attribute("lang")
    assert "比较" == page.one("#compare-button").text

    page.compare()
    scores = page.scores("hybrid")
    page.switch_language()

    assert "en" == page.one("html").get_attribute("lang")
    assert "Compare" == page.one("#compare-button").text
    assert "Passage 1" in page.texts("#words h3")[1]
    assert scores == page.scores("hybrid")

    page.browser.refresh()

    assert "en" == page.one("html").get_attribute("lang")


def test_both_languages_say_everything(page: ComparePage, page_url: str):
    page.open(page_url)
    english, chinese = page.browser.execute_async_script(
        "const done = arguments[0];"
        "import('/page/messages.js').then(({MESSAGES: m}) => "
        "done([Object.keys(m.en), Object.keys(m.zh)]))"
    )
    own = [
        name
        for view in ("compare", "search")
        for name in page.browser.execute_async_script(
            "const done = arguments[1];"
            "import(`/page/${arguments[0]}/messages.js`).then(all => "
            "done(Object.keys(Object.values(all)[0].en)))",
            view,
        )
    ]

    assert english == chinese
    # None takes the place of another's.
    assert len(set(own)) == len(own)
    assert own == english[-len(own) :]


def test_cut_texts_are_said(page: ComparePage, page_url: str):
    page.open(page_url)
    page.fill("short", ["short too", PASSAGES[0]])
    page.one("#options summary").click()
    page.write("#max-length", "8")
    page.compare()

    assert "Cut to 8 tokens: passage 2." == page.one("#cuts").text
    assert ["8"] == page.texts("#ranking tr[data-passage='2'] .count")


def test_a_text_that_the_server_refuses_is_marked(page: ComparePage, page_url: str):
    """The field of the text that is too long is named, even behind an empty one."""
    page.open(page_url)
    page.fill("short", ["short too", "", PASSAGES[0]])
    page.one("#options summary").click()
    page.write("#max-length", "8")
    page.one("#truncate").click()
    page.compare()

    boxes = page.all("#passages textarea")
    assert "The server cannot take passage 3." in page.notice
    assert [None, None, "true"] == [box.get_attribute("aria-invalid") for box in boxes]


def test_missing_texts_are_asked_for(page: ComparePage, page_url: str):
    page.open(page_url)
    page.requests()
    page.fill("", ["a passage"])
    page.one("#compare-button").click()

    assert "Write a query." == page.notice
    assert page.one("#query") == page.focused

    page.fill("a query", ["   "])
    page.one("#compare-button").click()

    assert "Write one passage at least." == page.notice
    assert [] == [url for url in page.requests() if url.endswith("/embed")]


def test_pasted_lines_become_passages(page: ComparePage, page_url: str):
    """Lines pasted into an empty box are passages of their own, unless that is undone."""
    page.open(page_url)
    page.fill("query", [""])
    page.browser.execute_script(
        "const data = new DataTransfer(); data.setData('text/plain', 'one\\ntwo\\n\\nthree');"
        "document.querySelector('#passages textarea').dispatchEvent("
        "new ClipboardEvent('paste', {clipboardData: data, cancelable: true, bubbles: true}))"
    )
    values = "return [...document.querySelectorAll('#passages textarea')].map(box => box.value)"

    assert ["one", "two", "three"] == page.browser.execute_script(values)
    page.one("#split button").click()
    assert ["one\ntwo\n\nthree"] == page.browser.execute_script(values)


def test_keyboard_alone_is_enough(page: ComparePage, page_url: str):
    """From the top of the page to an answer, to a slider and to the heat map, without a mouse."""
    page.open(page_url)
    page.tab_to(page.one("#query"))
    page.press(" please")
    page.browser.switch_to.active_element.send_keys(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: page.all("#ranking tbody tr"))
    page.tab_to(page.one("#weight-dense"))
    page.press(Keys.ARROW_LEFT)

    assert "0.35" == page.one(".weight output").text
    page.tab_to(page.one("#heat td.cell"))


def test_everything_comes_from_this_server(page: ComparePage, page_url: str):
    """From opening to comparing, in both languages, no request goes anywhere else."""
    page.open(page_url)
    page.compare()
    page.switch_language()
    urls = page.requests()

    assert any(url.endswith("/embed") for url in urls)
    assert [] == [url for url in urls if not url.startswith(page_url)]


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_it_without_sideways_scrolling(page: ComparePage, page_url: str, width: int):
    page.resize(width, phone=True)
    page.open(page_url)
    page.compare()

    assert width == page.browser.execute_script("return document.documentElement.scrollWidth")


def test_the_model_is_said(page: ComparePage, page_url: str):
    page.open(page_url)
    page.until(lambda: page.one("#model").text)

    assert "Demo model: 384 dimensions, not BGE-M3" in page.one("#model").text
