"""Training speed of a study's runs relative to the limit of the device.

First run ``condgen study gpu --device cuda --out runs/gpu``. This script then measures a large
matrix product on the device and writes ``benchmarks/results/gpu.json``: GFLOP/s of training, and
their fraction of the GFLOP/s of that product.
"""

import statistics
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.evidence import RESULTS, about, keep, matrix_limit
from condgen import experiments, machine
from condgen.cli.options import data_dir_option
from condgen.errors import CondgenError
from condgen.runs import Run
from condgen.training.log import LOG, read_log

PRODUCT = {"cuda": 8192, "cpu": 1024}
CHOSEN = ("n", "accuracy", "accuracy_ci", "bits_per_dim", "bits_per_dim_ci")


def measured(run: Run, device: torch.device, data_dir: Path | None) -> dict[str, Any]:
    """Speed and memory of a training from its log, and the numbers of Table 1 if it was audited."""
    lines = read_log(run.path)
    rate = statistics.median(line["images_per_second"] for line in lines)
    precision = getattr(run.config.model, "precision", "float32")
    gflops = rate * experiments.summarize(run.config, data_dir, device.type).training_flops / 1e9
    limit = matrix_limit(
        torch.bfloat16 if precision == "bfloat16" else torch.float32, device, PRODUCT[device.type]
    )
    found = {
        "epochs": len(lines),
        "of_epochs": run.config.training.epochs,
        "precision": precision,
        "compiled": run.config.training.compile,
        "train_seconds": sum(line["seconds"] for line in lines),
        "images_per_second": rate,
        "training_gflops": gflops,
        "matrix_limit_gflops": limit,
        "fraction_of_limit": gflops / limit,
        "peak_memory_mib": lines[-1].get("peak_memory_mib"),
    }
    if run.has("classification"):
        summary = run.record("classification").summary
        found["classification"] = {key: summary[key] for key in CHOSEN}
    return found


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--device", type=click.Choice(machine.DEVICES), default="cuda", show_default=True)
@data_dir_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "gpu.json", show_default=True
)
def main(folder: Path, device: str, data_dir: Path | None, out: Path) -> None:
    """Measure the runs of the study in FOLDER on the device that trained them."""
    machine.prepare()
    try:
        place = machine.prepare_device(device)
        runs = [
            Run.open(path.parent)
            for path in sorted(folder.glob(f"runs/*/{LOG}"))
            if path.stat().st_size
        ]
        presets = {run.name: measured(run, place, data_dir) for run in runs}
    except CondgenError as error:
        raise click.ClickException(str(error)) from error
    if not presets:
        raise click.ClickException(
            f"{folder} has no run that was trained; run `condgen study gpu --out {folder}` first."
        )
    keep(out, {"presets": presets, **about(place)})
    click.echo(f"{len(presets)} runs measured; see {out}.")


if __name__ == "__main__":
    main()
