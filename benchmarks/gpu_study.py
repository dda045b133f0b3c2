"""The paper's presets to the end on one CUDA device, in pieces of a few minutes; writes ``benchmarks/results/gpu.json``.

Each call begins no epoch that would end after ``--minutes`` and no audits after them, and says whether to call again; nothing
that was finished is done twice.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.evidence import RESULTS, about, keep, kept, matrix_limit
from condgen import experiments, machine
from condgen.cli.options import Finite, data_dir_option, overrides_option, threads_option
from condgen.config import AUDITS, load_preset
from condgen.errors import CondgenError
from condgen.runs import Run

PRESETS = ("mnist-reweight", "mnist-split", "mnist-base")
PRODUCT = {"cuda": 8192, "cpu": 1024}


class Study:
    """What has been measured, kept after every piece."""

    def __init__(self, out: Path, device: torch.device):
        self.out, self.device = out, device
        self.results: dict[str, Any] = {"presets": {}, **kept(out), **about(device)}

    def run_until(
        self, end: float, presets: tuple[str, ...], overrides: tuple[str, ...], runs: Path, data_dir: Path | None
    ) -> bool:
        """Train and audit what is not done yet; whether all was done before the monotonic clock said ``end``.

        What it begins with is never too late, so that every call gets somewhere.
        """
        begun = False
        for preset in presets:
            path, config = runs / preset, load_preset(preset, overrides)
            epochs = config.training.epochs
            if not (path.exists() and experiments.reopen(path, config).epochs_done >= epochs):
                minutes = (end - time.monotonic()) / 60
                if (begun and minutes <= 0) or self.train(preset, overrides, path, minutes, data_dir).epochs_done < epochs:
                    return False
                begun = True
            run = Run.open(path)
            missing = [name for name in AUDITS if not run.has(name)]
            if missing or "classification" not in self.results["presets"].get(preset, {}):
                if begun and time.monotonic() >= end:
                    return False
                self.audit(preset, run, missing, data_dir)
                begun = True
        return True

    def train(self, preset: str, overrides: tuple[str, ...], path: Path, minutes: float, data_dir: Path | None) -> Run:
        """Go on with a run, and add what this piece measured; what was kept of another run of the preset goes."""
        if not path.exists():
            self.results["presets"].pop(preset, None)
        start = time.monotonic()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        run = experiments.train(
            load_preset(preset, overrides),
            path,
            data_dir=data_dir,
            device=self.device.type,
            resume=path.exists(),
            minutes=minutes,
        )
        found = self.results["presets"].setdefault(preset, {"train_seconds": 0.0, "pieces": 0})
        found["train_seconds"] += time.monotonic() - start
        found["pieces"] += 1
        found |= self._speed(run, data_dir)
        keep(self.out, self.results)
        return run

    def audit(self, preset: str, run: Run, missing: list[str], data_dir: Path | None) -> None:
        """The audits that are not done yet; Table 1's figures stand beside the speed."""
        if missing:
            experiments.audit(run, missing, data_dir=data_dir, device=self.device.type)
        summary = run.record("classification").summary
        chosen = ("n", "accuracy", "accuracy_ci", "bits_per_dim", "bits_per_dim_ci")
        self.results["presets"].setdefault(preset, {})["classification"] = {key: summary[key] for key in chosen}
        keep(self.out, self.results)

    def _speed(self, run: Run, data_dir: Path | None) -> dict[str, Any]:
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        rate = statistics.median(line["images_per_second"] for line in lines)
        precision = torch.bfloat16 if run.config.model.precision == "bfloat16" else torch.float32
        gflops = rate * experiments.describe(run.config, data_dir, self.device.type).training_flops / 1e9
        peak = torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else None
        limit = matrix_limit(precision, self.device, PRODUCT[self.device.type])  # after the peak: its matrices are large
        return {
            "epochs": len(lines),
            "of_epochs": run.config.training.epochs,
            "precision": run.config.model.precision,
            "compiled": run.config.training.compile,
            "images_per_second": rate,
            "training_gflops": gflops,
            "matrix_limit_gflops": limit,
            "fraction_of_limit": gflops / limit,
            "peak_memory_mb": peak,
        }


@click.command()
@click.argument("presets", nargs=-1)
@click.option("--minutes", type=Finite(min=0), default=8.0, show_default=True, help="Of this call.")
@click.option("--device", type=click.Choice(machine.DEVICES), default="cuda", show_default=True)
@threads_option
@overrides_option
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/gpu"), show_default=True)
@data_dir_option
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "gpu.json", show_default=True)
def main(
    presets: tuple[str, ...],
    minutes: float,
    device: str,
    threads: int | None,
    overrides: tuple[str, ...],
    runs: Path,
    data_dir: Path | None,
    out: Path,
) -> None:
    """Train and audit PRESETS (default: Reweight, Split and Base on MNIST), at most --minutes of it in this call."""
    end = time.monotonic() + 60 * minutes
    machine.prepare(threads)
    try:
        study = Study(out, machine.prepare_device(device))
        done = study.run_until(end, presets or PRESETS, overrides, runs, data_dir)
    except CondgenError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"All is trained and audited; see {out}." if done else "Time is over; the same command goes on.")


if __name__ == "__main__":
    main()
