"""Cost of checkpoints, metrics and locks, and memory over a long training.

Training ``mnist-base-small`` as ``condgen train`` does it, with and without checkpoints, beside a
bare loop over ``step.step``, in alternating rounds of one process; then the resident memory of a
tiny model over 10,000 steps. Writes ``benchmarks/results/overhead.json``; CONDGEN_DATA names the
real data.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.evidence import RESULTS, about, keep, kept
from condgen import experiments, load_preset, machine, open_dataset
from condgen.config import Config
from condgen.data.dataset import Splits
from condgen.experiments.building import Experiment, images_of
from condgen.experiments.training import resolved, run_training
from condgen.randomness import stream
from condgen.runs import Run
from condgen.training import checkpoints
from condgen.training.loader import Loader
from condgen.training.loop import fit_step
from condgen.training.maximum_likelihood import MaximumLikelihood

PRESET = "mnist-base-small"
NEVER, USUAL = 1e9, 5.0  # minutes between two checkpoints
LONG = ("training.epochs=100000", "training.decay.name=step", "model.blocks=1", "model.width=8")
PATH = RESULTS / "overhead.json"


def page_of(steps: int, minutes: float) -> Config:
    """The preset with so many steps and minutes between two checkpoints; without snapshots."""
    settings = (
        f"training.max_steps={steps}",
        f"training.checkpoint_minutes={minutes}",
        "training.snapshots=0",
    )
    return resolved(load_preset(PRESET, settings))


def trained(splits: Splits, steps: int, minutes: float) -> tuple[float, list[float]]:
    """Seconds of a training after its first step, without validation; seconds per checkpoint."""
    page = page_of(steps, minutes)
    built = experiments.build(page, splits)
    keep, kept = checkpoints.keep, list[float]()

    def timed_keep(*arguments: Any, **options: Any) -> None:
        start = time.perf_counter()
        keep(*arguments, **options)
        kept.append(time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder, patch.object(checkpoints, "keep", timed_keep):
        run = Run.create(Path(folder) / "run", page.model_copy(update={"images": None}))

        def train() -> None:
            with run.training():
                fit_step(
                    built.step,
                    splits.train,
                    splits.validation,
                    settings=page.training,
                    directory=run.path,
                    augmentation=built.augmentation,
                    seed=page.seed,
                )

        return _timed(built, train), kept


def bare(splits: Splits, steps: int) -> float:
    """Seconds of the same steps in a loop."""
    page = page_of(steps, NEVER)
    built = experiments.build(page, splits)

    def loop() -> None:
        loader = Loader(splits.train, page.training.batch_size, built.augmentation, page.seed)
        for number, (x, label) in zip(range(steps), loader.epoch(0), strict=False):
            built.step.step(x, label, stream(page.seed, "noise", 0, number))

    return _timed(built, loop)


def _timed(built: Experiment, run: Callable[[], object]) -> float:
    """Seconds from the end of the first step to the end of the last one, and to save it."""
    assert isinstance(built.step, MaximumLikelihood)
    begun, validation = [], []
    step, validate = built.step.step, built.step.validate

    def timed_step(*arguments: Any) -> Any:
        result = step(*arguments)
        begun.append(time.perf_counter())
        return result

    def timed_validate(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = validate(*arguments)
        validation.append(time.perf_counter() - start)
        return result

    built.step.step, built.step.validate = timed_step, timed_validate  # type: ignore[method-assign]
    run()
    return time.perf_counter() - begun[0] - sum(validation)


def overhead(steps: int, rounds: int, minutes: float) -> dict[str, Any]:
    """Seconds of each contender by round, and what they say about a real training.

    Checkpoints are written more often than usual, and their cost is scaled to the usual interval.
    """
    splits = open_dataset("mnist")
    splits = replace(splits, validation=splits.validation.take(slice(0, 256)))
    kept: list[float] = []

    def with_checkpoints() -> float:
        seconds, saved = trained(splits, steps, minutes)
        kept.extend(saved)
        return seconds

    contenders: dict[str, Callable[[], float]] = {
        "bare loop": lambda: bare(splits, steps),
        "without checkpoints": lambda: trained(splits, steps, NEVER)[0],
        "with checkpoints": with_checkpoints,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            seconds[name].append(contenders[name]())
    loop = _percent(seconds["without checkpoints"], seconds["bare loop"])
    checkpoint = statistics.median(kept)
    of_checkpoints = 100 * checkpoint / (60 * USUAL)
    return {
        "preset": PRESET,
        "steps": steps,
        "minutes_between_checkpoints": minutes,
        "seconds": {name: [round(each, 2) for each in times] for name, times in seconds.items()},
        "checkpoints": len(kept),
        "seconds_per_checkpoint": round(checkpoint, 4),
        "percent": {
            "loop, metrics, lock": round(loop, 2),
            f"a checkpoint every {USUAL:g} minutes": round(of_checkpoints, 3),
            "with checkpoints as measured": round(
                _percent(seconds["with checkpoints"], seconds["bare loop"]), 2
            ),
        },
    }


def _percent(times: list[float], of: list[float]) -> float:
    return 100 * statistics.median(one / other - 1 for one, other in zip(times, of, strict=True))


def memory(steps: int, every: int) -> dict[str, Any]:
    """Resident MiB of a tiny training after each ``every`` steps."""
    page = resolved(load_preset("digits-base", (*LONG, f"training.max_steps={steps}")))
    built = experiments.build(page, experiments.open_data(page))
    found: dict[int, float] = {}
    step = built.step.step

    def watched(*arguments: Any) -> Any:
        result = step(*arguments)
        if built.step.taken % every == 0:
            found[built.step.taken] = round(_resident() / 2**20, 1)
        return result

    built.step.step = watched  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        page = page.model_copy(update={"images": images_of(built.splits)})
        run = Run.create(Path(folder) / "run", page)
        run_training(built, run, resume=False, minutes=None, quiet=True)
    return {"every_steps": every, "resident_mib": found}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("time", "memory"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=0.1, help="between two checkpoints")
    arguments = parser.parse_args()
    machine.prepare(1)
    found = kept(PATH) | about() | {"threads": 1}
    if arguments.only != "memory":
        found["time"] = overhead(arguments.steps, arguments.rounds, arguments.minutes)
    if arguments.only != "time":
        found["memory"] = memory(10_000, 500)
    keep(PATH, found)
    print(PATH.read_text())


if __name__ == "__main__":
    main()
