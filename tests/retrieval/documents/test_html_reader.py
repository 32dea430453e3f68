"""What is read of HTML."""

from __future__ import annotations

from pathlib import Path

import pytest
from document_files import blocks_of, read_all, read_bytes

from bgem3_retrieval.errors import UnreadableDocumentError


def test_a_page_is_its_text(tmp_path: Path) -> None:
    """Scripts, styles, navigation and hidden elements are not read by people."""
    document = read_bytes(
        tmp_path,
        "a.html",
        """<!doctype html><html lang="en"><head><title>A &amp; B</title>
<meta name="author" content="Ann"><style>p {color: red}</style><script>var a</script></head>
<body><nav><a href=x>Home</a></nav><div role="navigation">no</div><p class="navheader">no</p>
<h1>One<a class="x" href="#one">#</a></h1>
<p>Some <b>bo</b>ld&nbsp;text,
   on two<br>lines &lt;here&gt;.<script>no()</script></p>
<div>loose <span>words</span><p>after</p>more</div>
<div hidden>no</div><div style="display: none">no</div><button>no</button>
<ul><li>item <i>one</i><li><p>item two</p><p>its second</p></ul>
<ol start=3><li>three</li><li>four</li></ol>
<pre>def f():
    return 1</pre>
<table><caption>Its name</caption><tr><th>a</th><th>b</th></tr>
<tr><td>1</td><td><ul><li>x</li><li>y</li></ul></td></tr></table>
</body></html>""",
    )

    assert [
        ("heading1", "One"),
        ("paragraph", "Some bold\xa0text, on two\nlines <here>."),
        ("paragraph", "loose words"),
        ("paragraph", "after"),
        ("paragraph", "more"),
        ("list_item", "- item one"),
        ("list_item", "- item two"),
        ("list_item", "its second"),
        ("list_item", "3. three"),
        ("list_item", "4. four"),
        ("code", "def f():\n    return 1"),
        ("paragraph", "Its name"),
        ("table", "a | b\n1 | - x - y"),
    ] == blocks_of(document)
    assert "A & B" == document.title
    assert {"author": "Ann", "language": "en"} == document.metadata


def test_the_main_part_is_the_page_where_it_is_marked(tmp_path: Path) -> None:
    """What is around it is on every page of the site."""
    page = "<body><div>around</div><div role=main><h1>One</h1></div><footer>around</footer>"

    assert [("heading1", "One")] == blocks_of(read_bytes(tmp_path, "a.html", page))


def test_a_main_part_without_text_is_no_reason_to_read_nothing(tmp_path: Path) -> None:
    """Then all of the page is read."""
    document = read_bytes(tmp_path, "a.html", "<main> </main><p>text</p>")

    assert [("paragraph", "text")] == blocks_of(document)


def test_tables_that_lay_out_a_page_are_no_tables(tmp_path: Path) -> None:
    """They have headings and tables in them, or one column."""
    document = read_bytes(
        tmp_path,
        "a.html",
        "<table><tr><td>menu<td><h1>One</h1><table><tr><td>a<td>b</table></table>"
        "<table><tr><td>alone</table>",
    )

    assert [
        ("paragraph", "menu"),
        ("heading1", "One"),
        ("table", "a | b"),
        ("paragraph", "alone"),
    ] == blocks_of(document)


def test_chinese_lines_of_the_source_are_joined_without_a_space(tmp_path: Path) -> None:
    """A line's end in the source is no space in the text."""
    document = read_bytes(tmp_path, "a.html", "<p>如何重置\n  密码，\nor else\nnot 使用\nit</p>")

    assert [("paragraph", "如何重置密码，or else not 使用 it")] == blocks_of(document)


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("gb18030", '<meta charset="gb2312">'),
        ("big5", '<meta http-equiv="Content-Type" content="text/html; charset=Big5">'),
        ("shift_jis", "<meta charset=Shift_JIS>"),
        ("utf-8", "<meta charset=iso-8859-1>"),
        ("utf-8", "<meta charset=nonsense>"),
        ("iso2022_jp", "<meta charset=iso-2022-jp>"),
    ],
)
def test_the_encoding_that_a_page_names_is_tried(tmp_path: Path, encoding: str, head: str) -> None:
    """After UTF-8: servers say otherwise of pages that are."""
    text = "日本人一二三"
    page = f"<html><head>{head}<title>{text}</title><p>{text}".encode(encoding)

    assert text == read_bytes(tmp_path, "a.html", page).text


def test_deep_pages_are_read(tmp_path: Path) -> None:
    """However many elements are in each other; what would take the parser hours is refused."""
    assert "deep" == read_bytes(tmp_path, "a.html", "<div>" * 4_000 + "deep").text
    assert (
        "flat" == read_bytes(tmp_path, "a.html", "<p><br><div></div><g />" * 15_000 + "flat").text
    )
    with pytest.raises(UnreadableDocumentError, match="more than 10,000 elements are never closed"):
        read_bytes(tmp_path, "a.html", "<div>" * 1_000_000)


def test_a_page_without_text_is_refused(tmp_path: Path) -> None:
    """A script is no text."""
    path = tmp_path / "a.html"
    path.write_text("<title>t</title><script>1</script>")

    with pytest.raises(UnreadableDocumentError, match="has no text"):
        read_all(path)
