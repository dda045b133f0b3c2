"""Copies the records of a study into ``results/``, without weights: ``runs/small results/small``.

Each run becomes a folder with its configuration, training log and records. With ``--summaries``,
records lose their per-image arrays. Records of a study that are already there are replaced.
"""

import shutil
from pathlib import Path

import click
import numpy as np

from condgen.audits.records import Record
from condgen.files import atomic_write
from condgen.runs import Run
from condgen.training.log import LOG

LARGEST = 2**20  # bytes of a file
OF_STUDIES = ("sweep-", "difference-", "trade-off-")  # tables that only a study has


def publish(run: Run, to: Path, *, summaries: bool) -> None:
    """Copy the configuration, log and records of a run."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(to, replace_directory=True) as work:
        (work / "records").mkdir(parents=True)
        for name in (Run.page, LOG):
            shutil.copy(run.path / name, work / name)
        for audit in run.audits_made():
            record = run.record(audit)
            arrays = {} if summaries else _needed(record)
            kept = Record(record.audit, record.summary, arrays, record.origin)
            kept.save(work / "records")
        for path in work.rglob("*"):
            if path.name.startswith("."):
                path.unlink()
            elif path.is_file() and path.stat().st_size > LARGEST:
                size = path.stat().st_size
                raise click.ClickException(f"{path.name} of {run.name} has {size} bytes.")


def _needed(record: Record) -> dict[str, np.ndarray]:
    """The arrays of a record; without a score along paths that repeats the bits/dim."""
    arrays = dict(record.arrays)
    repeated = np.array_equal(arrays.get("score", []), arrays.get("bits_per_dim", []))
    if record.audit == "interpolation" and repeated:
        arrays.pop("score", None)
    return arrays


@click.command()
@click.argument("study", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("to", type=click.Path(path_type=Path, file_okay=False))
@click.option("--summaries", is_flag=True, help="Without per-image arrays.")
def main(study: Path, to: Path, summaries: bool) -> None:
    """Copy the records of the study in folder STUDY to TO; its tables too with --summaries."""
    runs = [Run.open(path.parent) for path in sorted((study / "runs").glob(f"*/{Run.page}"))]
    runs = [run for run in runs if run.audits_made()]
    if not runs:
        raise click.ClickException(f"{study} has no audited run; give the --out of a study.")
    for run in runs:
        publish(run, to / run.name, summaries=summaries)
        click.echo(to / run.name)
    if summaries:
        shutil.rmtree(to / "tables", ignore_errors=True)
        (to / "tables").mkdir(parents=True)
        for path in sorted((study / "report" / "tables").glob("*.json")):
            if path.name.startswith(OF_STUDIES):
                shutil.copy(path, to / "tables" / path.name)


if __name__ == "__main__":
    main()
