"""Does bfloat16 cost quality? One preset trained alike but for the precision; writes ``benchmarks/results/bf16.json``.

Seed, order, augmentation, noise and the number of steps are the same. Still, any change of rounding makes another model of
many steps: so float32 is trained once more with its sums in another order, and the difference of bfloat16 is to be read beside
that one. Both are measured after one more epoch at a tenth of the rate, since at the full rate a model's bits/dim swing by more
from one epoch to the next. A second call goes on where the first one stopped; what it finds is kept seed by seed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import stats

from benchmarks.evidence import RESULTS, about, keep
from condgen import experiments, machine
from condgen.cli.options import data_dir_option, device_option, overrides_option, threads_option
from condgen.config import Config, load_preset
from condgen.errors import CondgenError
from condgen.models.glow import coupling_network

AGAIN = "float32 again"
PRECISION = {"float32": "float32", "bfloat16": "bfloat16", AGAIN: "float32"}
COMPARED = {"bf16": "bfloat16", "float32_again": AGAIN}


def page_of(preset: str, precision: str, overrides: tuple[str, ...], seed: int) -> Config:
    """The preset with one more epoch, at a tenth of the rate."""
    page = load_preset(preset, (*overrides, f"model.precision={precision}"), seed)
    ending = page.training.decay.model_copy(update={"factor": 0.1, "every_epochs": page.training.epochs})
    training = page.training.model_copy(update={"epochs": page.training.epochs + 1, "decay": ending})
    return page.model_copy(update={"training": training})


@contextmanager
def other_sums() -> Iterator[None]:
    """Gradients of weights add blocks of half the size, which rounds differently; on a GPU the order varies by itself."""
    usual = coupling_network.BLOCK_BYTES
    coupling_network.BLOCK_BYTES = usual // 2
    try:
        yield
    finally:
        coupling_network.BLOCK_BYTES = usual


def classification(kind: str, config: Config, path: Path, device: str, data_dir: Path | None) -> dict[str, Any]:
    """Table 1's row of a run on the test images, trained and measured now as far as it is not yet."""
    with other_sums() if kind == AGAIN else nullcontext():
        run = experiments.train(config, path, data_dir=data_dir, device=device, resume=path.exists())
    if not run.has("classification"):
        experiments.audit(run, ["classification"], data_dir=data_dir, device=device)
    summary = run.record("classification").summary
    return {key: summary[key] for key in ("n", "bits_per_dim", "bits_per_dim_ci", "accuracy", "accuracy_ci")}


def differences(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """From float32, as means over the seeds that have been trained so; with Student's 95 % interval of more than one."""
    results: dict[str, Any] = {}
    for name, kind in COMPARED.items():
        both = [rows for rows in found.values() if kind in rows]
        results[f"{name}_seeds"] = len(both)
        for key in ("bits_per_dim", "accuracy") if both else ():
            values = np.array([rows[kind][key] - rows["float32"][key] for rows in both])
            results[f"{name}_{key}_difference"] = mean = float(values.mean())
            half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else None
            # seeds that differ alike have an interval as well: of no width
            results[f"{name}_{key}_difference_ci"] = None if half is None else (mean - half, mean + half)
    return results


@click.command()
@click.argument("preset", default="mnist-reweight-small")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True)
@device_option
@threads_option
@overrides_option
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/precision"), show_default=True)
@data_dir_option
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "bf16.json", show_default=True)
def main(
    preset: str,
    seeds: int,
    device: str,
    threads: int | None,
    overrides: tuple[str, ...],
    runs: Path,
    data_dir: Path | None,
    out: Path,
) -> None:
    """Train PRESET in float32, in bfloat16 and in float32 again, and compare bits/dim and accuracy on the test images."""
    machine.prepare(threads)
    found: dict[str, dict[str, Any]] = {}
    try:
        place = machine.prepare_device(device)
        for seed in range(seeds):
            pages = {kind: page_of(preset, precision, overrides, seed) for kind, precision in PRECISION.items()}
            for page in pages.values():  # before an hour is spent on the other ones
                experiments.check_device(page, place.type)
            for kind, page in pages.items():
                path = runs / f"{preset}-{kind.replace(' ', '-')}-{seed}"
                found.setdefault(str(seed), {})[kind] = classification(kind, page, path, place.type, data_dir)
                settings = {"preset": preset, "epochs": page.training.epochs}
                keep(out, {**about(place), **settings, "seeds": found, **differences(found)})
    except CondgenError as error:
        raise click.ClickException(str(error)) from error
    for name, kind in COMPARED.items():
        bits, accuracy = (differences(found)[f"{name}_{key}_difference"] for key in ("bits_per_dim", "accuracy"))
        click.echo(f"{kind} - float32: {bits:+.4f} bits/dim, {accuracy:+.2%} accuracy, {seeds} seed(s); see {out}.")


if __name__ == "__main__":
    main()
