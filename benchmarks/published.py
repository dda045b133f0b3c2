"""Copies the records of a study into ``results/``, without weights: ``runs/small results/small``.

Each run becomes a folder with its configuration, training log and records. With ``--summaries``,
records lose their per-image arrays. Records of a study that are already there are replaced.
"""

import shutil
from pathlib import Path

import click
import numpy as np

from condgen.audits.records import Record
from condgen.errors import CondgenError
from condgen.runs import Run

LARGEST = 2**20  # bytes of a file


def publish(run: Run, to: Path, *, summaries: bool) -> None:
    """Copy the configuration, log and records of a run."""
    shutil.rmtree(to, ignore_errors=True)
    records = to / "records"
    records.mkdir(parents=True)
    for name in (Run.page, "metrics.jsonl"):
        shutil.copy(run.path / name, to / name)
    for audit in run.audits_made():
        record = run.record(audit)
        arrays = {} if summaries else _needed(record)
        Record(record.audit, record.summary, arrays, record.origin).save(records)
    for path in to.rglob("*"):
        if path.name.startswith("."):
            path.unlink()
        elif path.is_file() and path.stat().st_size > LARGEST:
            raise CondgenError(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}.")


def _needed(record: Record) -> dict[str, np.ndarray]:
    """The arrays of a record without a score that repeats the bits/dim."""
    arrays = dict(record.arrays)
    if "score" in arrays and np.array_equal(arrays["score"], arrays.get("bits_per_dim", [])):
        del arrays["score"]
    return arrays


@click.command()
@click.argument("study", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("to", type=click.Path(path_type=Path, file_okay=False))
@click.option("--summaries", is_flag=True, help="Without per-image arrays.")
def main(study: Path, to: Path, summaries: bool) -> None:
    """Copy the records of the study in folder STUDY to TO, and the tables of its report."""
    for path in sorted((study / "runs").glob(f"*/{Run.page}")):
        run = Run.open(path.parent)
        if run.audits_made():
            publish(run, to / path.parent.name, summaries=summaries)
            click.echo(to / path.parent.name)
    if summaries:
        shutil.copytree(study / "report" / "tables", to / "tables", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
