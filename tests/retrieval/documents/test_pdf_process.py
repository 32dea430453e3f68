"""PDFium has a process of its own, and whatever becomes of that is one file's trouble."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from document_files import PdfPage, pdf_bytes
from waiting import wait_until

from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.reader import read
from bgem3_retrieval.documents.readers import pdf_extraction, pdf_process
from bgem3_retrieval.documents.readers.pdf_extraction import (
    DamagedPage,
    End,
    Lines,
    OutlineEntry,
    Piece,
    Properties,
    Unreadable,
    decode,
    encode,
    extract,
)
from bgem3_retrieval.documents.readers.pdf_lines import Line
from bgem3_retrieval.documents.readers.pdf_process import PdfProcess
from bgem3_retrieval.errors import MissingLibraryError, UnreadableDocumentError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A PDF of three pages."""
    path = tmp_path / "重置 密码.pdf"
    pages = [PdfPage().text(50, 800, f"Page {number}") for number in (1, 2, 3)]
    path.write_bytes(pdf_bytes(*pages, title="A title", outline=[("Page 2", 1)]))
    return path


@pytest.fixture
def process() -> Iterator[PdfProcess]:
    """A process of the test's own."""
    process = PdfProcess()
    yield process
    process.close()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch):
    """Have the process be the program with something done to it before."""

    def program(changes: str) -> None:
        code = f"import {pdf_extraction.__name__} as program\n{changes}\nprogram.main()"
        monkeypatch.setattr(pdf_process, "_COMMAND", (sys.executable, "-P", "-c", code))

    return program


def children() -> list[psutil.Process]:
    """The running children of this process that read PDF files."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and any(pdf_extraction.__name__ in part for part in child.cmdline())
    ]


@pytest.mark.parametrize(
    "piece",
    [
        Lines([Line("重\udcff", 1, 0.1, 2.0, 3.0, 10.0, None, True)]),
        Lines([]),
        DamagedPage(3, "is damaged"),
        OutlineEntry("a\nb", 1, 2),
        Properties({"Title": "t"}),
        Unreadable("is none"),
        End(),
    ],
)
def test_pieces_come_through_the_pipe(piece: Piece) -> None:
    """Each is one line, whatever is in it."""
    line = encode(piece)

    assert "\n" not in line
    assert piece == decode(line)


def test_it_gives_what_pdfium_gives_here(process: PdfProcess, file: Path) -> None:
    """File after file from one process, relative names too; at the end it is gone."""
    before = children()
    expected = list(extract(file))
    found = [process.extract(file) for _ in range(3)]
    started = [child for child in children() if child not in before]
    process.close()

    assert 3 == sum(isinstance(piece, Lines) for piece in expected)
    assert End() == expected[-1]
    assert [expected] * 3 == found
    assert 1 == len(started)
    assert not started[0].is_running()


def test_a_page_that_takes_too_long(process: PdfProcess, file: Path, program) -> None:
    """Is ended by the kernel, where nothing else could; the next file is read."""
    program(
        "import time; program.STEP_SECONDS = 1\n"
        "program._outline = lambda pdf: time.sleep(60 if len(pdf) == 3 else 0) or []"
    )
    file.with_name("two.pdf").write_bytes(pdf_bytes(PdfPage().text(50, 800, "a")))

    slow = process.extract(file)
    quick = process.extract(file.with_name("two.pdf"))

    assert [Unreadable("has a page that takes longer than 30 s to read")] == slow
    assert End() == quick[-1]


def test_a_file_that_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, process: PdfProcess, file: Path
) -> None:
    """Pages that are quick, and too many."""
    monkeypatch.setattr(pdf_extraction, "FILE_SECONDS", -1)

    assert [Unreadable("takes longer than -1 s to read: split it")] == list(extract(file))


@pytest.mark.parametrize(
    ("done", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"\(SIGSEGV\)"),
        ("bytearray(5 << 30)", r"\(exit status 1\)"),
        ("import os; os.write(1, b'[\"Lin'); os._exit(3)", r"\(exit status 3\)"),
    ],
)
def test_a_crash_is_the_files_trouble(
    file: Path, program, monkeypatch: pytest.MonkeyPatch, done: str, told: str
) -> None:
    """A fault in PDFium, too much memory, half an answer: told, and the next one is read."""
    process = PdfProcess()
    monkeypatch.setattr("bgem3_retrieval.documents.readers.pdf_file.PDF_PROCESS", process)
    program(f"def fail(pdf):\n    {done}\nprogram._outline = fail")
    with pytest.raises(UnreadableDocumentError, match=rf"ended the PDF library {told}") as caught:
        list(read(SourceFile(file, file.name, file.stat().st_size)))
    monkeypatch.undo()

    assert file.name == caught.value.source
    assert End() == process.extract(file)[-1]
    process.close()


def test_killed_between_two_files(process: PdfProcess, file: Path) -> None:
    """One file is told to be unreadable at most: a new process reads the next one."""
    before = children()
    process.extract(file)
    (child,) = [child for child in children() if child not in before]
    child.kill()
    wait_until(lambda: child not in children())

    first = process.extract(file)[-1]

    assert first == End() or "SIGKILL" in str(first)
    assert End() == process.extract(file)[-1]


def test_one_that_does_not_start(process: PdfProcess, file: Path, program) -> None:
    """Is not the file's fault."""
    program("raise SystemExit(1)")

    with pytest.raises(MissingLibraryError, match=r"does not start; this shows why: .*python"):
        process.extract(file)


def test_threads_take_turns(process: PdfProcess, file: Path) -> None:
    """Nobody gets another one's file."""
    other = file.with_name("other.pdf")
    other.write_bytes(pdf_bytes(PdfPage().text(50, 800, "Another")))
    expected = {path: list(extract(path)) for path in (file, other)}
    wrong: list[Path] = []

    def ask(path: Path) -> None:
        for _ in range(10):
            if process.extract(path) != expected[path]:
                wrong.append(path)

    threads = [threading.Thread(target=ask, args=(path,)) for path in [file, other] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong


def test_it_ends_with_who_asks(file: Path) -> None:
    """A SIGKILL of the reading process closes the pipe, and that is the end of it."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from bgem3_retrieval.documents.readers.pdf_process import PDF_PROCESS\n"
        f"PDF_PROCESS.extract(Path({str(file)!r})); print('read', flush=True); time.sleep(60)"
    )
    asking = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    assert "read\n" == asking.stdout.readline()
    (child,) = psutil.Process(asking.pid).children()
    asking.kill()
    asking.wait()
    asking.stdout.close()

    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_its_memory_is_limited(process: PdfProcess, file: Path) -> None:
    """And it leaves no core dump of a stranger's file."""
    before = children()
    process.extract(file)
    (child,) = [child for child in children() if child not in before]

    assert (4 << 30, 4 << 30) == child.rlimit(resource.RLIMIT_AS)
    assert (0, 0) == child.rlimit(resource.RLIMIT_CORE)
