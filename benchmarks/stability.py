"""Does training ever meet a number that is not finite? Many seeds, few steps, a learning rate at which other flows fail.

Every (preset, seed) is kept in ``benchmarks/results/stability.json`` as soon as it is done; called again, the script goes on
with those that are missing. The warm-up is shorter than the presets' own, so that most steps are taken at the full rate.
"""

import json
import time
from collections.abc import Iterator
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from benchmarks import evidence
from condgen import load_preset, machine, open_dataset
from condgen.builders import build_classifier, build_objective
from condgen.cli.options import overrides_option, threads_option
from condgen.config import Config, preset_names
from condgen.data.augmentation import Augmentation
from condgen.data.dataset import Splits
from condgen.errors import CondgenError
from condgen.experiments import resolved
from condgen.randomness import stream
from condgen.training.loop import Loader
from condgen.training.optimiser import NonFiniteLoss, Optimiser

LEARNING_RATE, WARM_UP = 1e-3, 100
SMALL = [name for name in preset_names() if name.endswith("-small") or "digits" in name]


def page_of(preset: str, seed: int, overrides: tuple[str, ...]) -> Config:
    """A preset at the benchmark's rate, unless ``overrides`` have another."""
    rates = (f"training.learning_rate={LEARNING_RATE}", f"training.warm_up_steps={WARM_UP}")
    return resolved(load_preset(preset, (*rates, *overrides), seed))


def train(page: Config, steps: int) -> dict[str, Any]:
    """``steps`` steps of an experiment; ends early at the first number that is not finite."""
    seed = page.seed
    data, start = splits(page.data.name).train, time.monotonic()
    classifier, objective = build_classifier(page, data).train(), build_objective(page)
    loader = Loader(data, page.training.batch_size, Augmentation(page.data.crop_padding, page.data.flip), seed)
    optimiser = Optimiser(classifier.density.named_parameters(), page.training, len(loader))
    noise, worst, last, failure = stream(seed, "noise", 0), 0.0, None, ""
    for x, label in islice(batches(loader), steps):
        with classifier.density.fresh_noise(noise):
            loss = objective(classifier(x), label).mean()
        try:
            worst = max(worst, optimiser.step_on(loss))
        except NonFiniteLoss as error:
            failure = str(error)
            break
        last = loss.item()
    return {
        "steps": optimiser.step,
        "non_finite": int(bool(failure)),
        "failure": failure,
        "worst_gradient_norm": worst,
        "final_loss": last,
        "precision": page.model.precision,
        "seconds": round(time.monotonic() - start, 1),
    }


@cache
def splits(name: str) -> Splits:
    return open_dataset(name)


def batches(loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch without end."""
    return (batch for epoch in count() for batch in loader.epoch(epoch))


def summary(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of one preset's seeds."""
    return {
        "seeds": len(runs),
        "steps": sum(run["steps"] for run in runs.values()),
        "non_finite": sum(run["non_finite"] for run in runs.values()),
        "worst_gradient_norm": max(run["worst_gradient_norm"] for run in runs.values()),
        "worst_final_loss": max((run["final_loss"] for run in runs.values() if run["final_loss"] is not None), default=None),
    }


def keep(path: Path, runs: dict[str, dict[str, dict[str, Any]]], overrides: tuple[str, ...] = ()) -> None:
    """Write all of the results anew, whole."""
    training = page_of(next(iter(runs)), 0, overrides).training
    settings = {name: getattr(training, name) for name in ("learning_rate", "warm_up_steps")} | {"overrides": list(overrides)}
    found = {preset: summary(seeds) for preset, seeds in runs.items()}
    evidence.keep(path, {**evidence.about(), **settings, "summary": found, "runs": runs})


def missing(runs: dict[str, dict[str, Any]], presets: tuple[str, ...], seeds: int, steps: int) -> Iterator[tuple[str, int]]:
    """What is still to do, a seed of every preset before the next seed."""
    for seed in range(seeds):
        for preset in presets:
            done = runs.get(preset, {}).get(str(seed))
            if done is None or (done["steps"] < steps and not done["non_finite"]):
                yield preset, seed


@click.command()
@click.argument("presets", nargs=-1, type=click.Choice(SMALL))
@click.option("--seeds", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True)
@overrides_option
@threads_option
@click.option("--out", type=click.Path(path_type=Path), default=evidence.RESULTS / "stability.json", show_default=True)
def main(presets: tuple[str, ...], seeds: int, steps: int, overrides: tuple[str, ...], threads: int | None, out: Path) -> None:
    """Train PRESETS (default: all small ones) from many seeds and count what is not finite; goes on after a stop."""
    machine.prepare(threads)
    kept = evidence.kept(out)
    runs, before = kept.get("runs", {}), kept.get("overrides", [])
    if runs and before != list(overrides):
        raise click.ClickException(f"{out} holds runs with --set {before}, not {list(overrides)}; give another --out.")
    for preset, seed in list(missing(runs, presets or tuple(SMALL), seeds, steps)):
        try:
            found = train(page_of(preset, seed, overrides), steps)
        except CondgenError as error:
            raise click.ClickException(str(error)) from error
        runs.setdefault(preset, {})[str(seed)] = found
        keep(out, runs, overrides)
        click.echo(f"{preset} seed {seed}: {json.dumps(found)}")
    for preset, line in evidence.kept(out)["summary"].items():
        click.echo(f"{preset}: {json.dumps(line)}")


if __name__ == "__main__":
    main()
