"""Estimate the training time of the small presets from timed steps on real data.

Writes ``benchmarks/results/presets.json``.
"""

import json
import platform
import statistics
import time
from pathlib import Path

from condgen import config, experiments, load_preset, machine, open_dataset
from condgen.experiments.training import resolved
from condgen.randomness import stream
from condgen.runs import installed_versions
from condgen.training.loader import Loader
from condgen.training.maximum_likelihood import EVALUATION_BATCH

WARM_UP, STEPS = 5, 30


def minutes(name: str) -> float:
    """Minutes of training and validation, from the median step and one evaluation batch."""
    page = resolved(load_preset(name))
    splits = open_dataset(page.data.name)
    built = experiments.build(page, splits)
    loader = Loader(splits.train, page.training.batch_size, built.augmentation, seed=0)
    noise, times, batches = stream(0, "noise"), [], loader.epoch(0)
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        x, label = next(batches)
        built.step.step(x, label, noise)
        times.append(time.perf_counter() - start)
    x, _ = splits.validation.batch(slice(0, EVALUATION_BATCH))
    start = time.perf_counter()
    built.classifier.eval()(x)
    evaluation = (time.perf_counter() - start) * len(splits.validation) / len(x)
    return (
        page.training.epochs * (statistics.median(times[WARM_UP:]) * len(loader) + evaluation) / 60
    )


def main() -> None:
    machine.prepare(machine.usable_cores())
    small = [name for name in config.preset_names() if name.endswith("-small")]
    found = {name: round(minutes(name), 1) for name in small}
    about = {
        "machine": platform.machine(),
        "threads": machine.usable_cores(),
        "versions": installed_versions(),
    }
    path = Path(__file__).parent / "results" / "presets.json"
    path.write_text(json.dumps({**about, "minutes": found}, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
