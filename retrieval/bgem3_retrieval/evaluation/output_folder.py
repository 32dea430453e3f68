"""The folder that an evaluation is written to: report, results, plots and runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.evaluation.evaluation import Evaluated
from bgem3_retrieval.evaluation.plots import write_plots
from bgem3_retrieval.evaluation.report import report
from bgem3_retrieval.evaluation.results import Results, as_json
from bgem3_retrieval.evaluation.runs import Run, fits_a_run_file, run_lines


def results_json(results: Results) -> str:
    """Return results as JSON, indented."""
    return json.dumps(as_json(results), indent=2, ensure_ascii=False)


def write_folder(
    folder: Path, results: Results, evaluated: Sequence[Evaluated], say: Callable[[str], None]
) -> Path:
    """Write everything, over what was there.

    Args:
        folder: Made where it is not there.
        results: Of the evaluation.
        evaluated: The same, with the runs.
        say: Told of what could not be written as it should.

    Returns:
        The report.

    Raises:
        OutputError: The folder cannot be written to.
    """
    with writing(str(folder)):
        plots = {}
        for item in evaluated:
            name = item.result.name
            pictures = write_plots(
                item.result, folder / "plots" / _file_name(name), results.model or "run files"
            )
            plots[name] = [picture.relative_to(folder) for picture in pictures]
            _write_runs(folder / "runs" / _file_name(name), item.runs, say)
        page = folder / "report.md"
        page.write_text(report(results, plots), encoding="utf-8")
        (folder / "results.json").write_text(results_json(results) + "\n", encoding="utf-8")
    return page


def _write_runs(folder: Path, runs: Mapping[str, Run], say: Callable[[str], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, run in runs.items():
        if not fits_a_run_file(run):
            say(f"no run file of {name}: an id has white space, at which TREC's columns end")
            continue
        tag = _file_name(name)
        with (folder / f"{tag}.trec").open("w", encoding="utf-8") as file:
            file.writelines(run_lines(run, tag))


def _file_name(name: str) -> str:
    """Return a name without what file systems and run files do not like."""
    return "".join(letter if letter.isalnum() or letter in "-+_." else "_" for letter in name)
