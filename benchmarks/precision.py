"""Does bfloat16 cost quality? One preset trained twice, alike but for the precision; writes ``benchmarks/results/bf16.json``.

Seed, order, augmentation, noise and the number of steps are the same. A second call goes on where the first one stopped.
"""

from pathlib import Path
from typing import Any

import click

from benchmarks.evidence import RESULTS, about, keep
from condgen import experiments, machine
from condgen.cli.options import data_dir_option, device_option, overrides_option, threads_option
from condgen.config import Config, load_preset
from condgen.errors import CondgenError

PRECISIONS = ("float32", "bfloat16")


def classification(config: Config, path: Path, device: str, data_dir: Path | None) -> dict[str, Any]:
    """Table 1's row of a run on the test images, trained now as far as it is not yet."""
    run = experiments.train(config, path, data_dir=data_dir, device=device, resume=path.exists())
    (record,) = experiments.audit(run, ["classification"], data_dir=data_dir, device=device)
    return {key: record.summary[key] for key in ("n", "bits_per_dim", "bits_per_dim_ci", "accuracy", "accuracy_ci")}


@click.command()
@click.argument("preset", default="mnist-reweight-small")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@device_option
@threads_option
@overrides_option
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/precision"), show_default=True)
@data_dir_option
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "bf16.json", show_default=True)
def main(
    preset: str,
    seed: int,
    device: str,
    threads: int | None,
    overrides: tuple[str, ...],
    runs: Path,
    data_dir: Path | None,
    out: Path,
) -> None:
    """Train PRESET in float32 and in bfloat16 and compare bits/dim and accuracy on the test images."""
    machine.prepare(threads)
    try:
        place = machine.prepare_device(device)
        pages = {kind: load_preset(preset, (*overrides, f"model.precision={kind}"), seed) for kind in PRECISIONS}
        for page in pages.values():  # before an hour is spent on the other one
            experiments.check_device(page, place.type)
        found = {
            kind: classification(page, runs / f"{preset}-{kind}-{seed}", place.type, data_dir) for kind, page in pages.items()
        }
    except CondgenError as error:
        raise click.ClickException(str(error)) from error
    difference = {key: found["bfloat16"][key] - found["float32"][key] for key in ("bits_per_dim", "accuracy")}
    results = {
        **about(place),
        "preset": preset,
        "seed": seed,
        "epochs": pages["float32"].training.epochs,
        **found,
        "bf16_bits_per_dim_difference": difference["bits_per_dim"],
        "bf16_accuracy_difference": difference["accuracy"],
    }
    keep(out, results)
    click.echo(
        f"bfloat16 - float32: {difference['bits_per_dim']:+.4f} bits/dim, {difference['accuracy']:+.2%} accuracy; see {out}."
    )


if __name__ == "__main__":
    main()
