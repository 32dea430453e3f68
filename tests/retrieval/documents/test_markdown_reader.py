"""What is read of Markdown."""

from __future__ import annotations

from pathlib import Path

from document_files import blocks_of, read_all, read_bytes


def test_markup_is_not_text(tmp_path: Path) -> None:
    """What stays is what people read, with its structure."""
    document = read_bytes(
        tmp_path,
        "a.md",
        """# The *title*

A **bold** [link](https://example.org) and `code`,
on two lines.<br>A third. ![no words](image.png)

重置密码
需要邮箱。

- one
- two
  1. nested
  2. more

     of it

> quoted

| a | b |
|---|---|
| 1 | `2` |

```python
def f():
    return 1
```

## Under it
""",
    )

    assert [
        ("heading1", "The title"),
        ("paragraph", "A bold link and code, on two lines.\nA third."),
        ("paragraph", "重置密码需要邮箱。"),
        ("list_item", "- one"),
        ("list_item", "- two"),
        ("list_item", "1. nested"),
        ("list_item", "2. more"),
        ("list_item", "of it"),
        ("paragraph", "quoted"),
        ("table", "a | b\n1 | 2"),
        ("code", "def f():\n    return 1"),
        ("heading2", "Under it"),
    ] == blocks_of(document)
    assert "The title" == document.title
    assert "- one\n- two\n1. nested" in document.text


def test_front_matter_is_metadata(tmp_path: Path) -> None:
    """Its single values; lists and the like are not what one filters by."""
    document = read_bytes(
        tmp_path,
        "a.md",
        "---\ntitle: 手册\nyear: 2024\ndraft: false\ndate: 2024-05-06\ntags: [a, b]\n---\n# One\n",
    )

    assert "手册" == document.title
    assert {"year": 2024, "draft": False, "date": "2024-05-06"} == document.metadata
    assert [("heading1", "One")] == blocks_of(document)


def test_front_matter_may_be_toml(tmp_path: Path) -> None:
    """As Hugo and Zola have it."""
    document = read_bytes(tmp_path, "a.md", '+++\ntitle = "One"\nweight = 3\n+++\nText.\n')

    assert ("One", {"weight": 3}, "Text.") == (document.title, document.metadata, document.text)


def test_front_matter_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """The text is there all the same."""
    path = tmp_path / "a.md"
    path.write_text("---\ntitle: [one\n---\nText.\n")
    (document,), (left_out,) = read_all(path)

    assert [("paragraph", "Text.")] == blocks_of(document)
    assert ("a.md", "front matter") == (left_out.source, left_out.part)
    assert str(left_out).startswith("a.md: front matter: cannot be read: ")


def test_a_line_across_the_page_is_no_front_matter(tmp_path: Path) -> None:
    """What follows it is text."""
    document = read_bytes(tmp_path, "a.md", "---\n\nOne.\n\n---\n\nTwo.\n")

    assert [("paragraph", "One."), ("paragraph", "Two.")] == blocks_of(document)


def test_html_inside_is_read_as_html(tmp_path: Path) -> None:
    """READMEs have much of it."""
    document = read_bytes(
        tmp_path,
        "a.md",
        "<h1 align=center>Name</h1>\n\n<!-- a comment -->\n\n<p>Some &amp; more</p>\n\nEnd.\n",
    )

    assert [
        ("heading1", "Name"),
        ("paragraph", "Some & more"),
        ("paragraph", "End."),
    ] == blocks_of(document)
