"""Time augmentation and training steps of the smallest preset, and the opening of CIFAR-10.

Writes ``benchmarks/results/data.json``. CIFAR-10 is opened only if CONDGEN_DATA is set, twice with
a separate cache: the first time decodes, the second time reads the cache.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from condgen import experiments, load_preset, machine, open_dataset
from condgen.data.augmentation import Augmentation
from condgen.randomness import stream
from condgen.runs import installed_versions
from condgen.training.loader import Loader

PRESET, ROUNDS = "digits-base", 40
OPEN = (
    "import time; from condgen import open_dataset; t = time.perf_counter();"
    " open_dataset({!r}); print(time.perf_counter() - t)"
)


def median_ms(call: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def augmentation_share() -> dict[str, float]:
    config, splits = load_preset(PRESET), open_dataset("digits")
    step = experiments.build(config, splits).step
    loader = Loader(
        splits.train,
        config.training.batch_size,
        Augmentation(config.data.crop_padding, flip=True),
        seed=0,
    )
    x, label = splits.train.batch(slice(0, config.training.batch_size))
    generator = stream(0, "benchmark")

    step.step(x, label, generator)
    of_step = median_ms(lambda: step.step(x, label, generator))
    of_augmentation = median_ms(lambda: loader.augmentation(x, generator))
    return {
        "step_ms": of_step,
        "augmentation_ms": of_augmentation,
        "augmentation_share": of_augmentation / of_step,
    }


def opening(name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "CONDGEN_CACHE": cache}
        command = [sys.executable, "-c", OPEN.format(name)]
        first, again = (
            float(
                subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True
                ).stdout
            )
            for _ in range(2)
        )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"first_s": first, "again_s": again, "peak_mb": peak}


def main() -> None:
    machine.prepare(threads=1)
    results: dict[str, object] = {
        "machine": platform.processor() or platform.machine(),
        "versions": installed_versions(),
    }
    results["cifar10"] = (
        opening("cifar10") if "CONDGEN_DATA" in os.environ else "not run: CONDGEN_DATA is not set"
    )
    results["augmentation"] = augmentation_share()
    path = Path(__file__).parent / "results" / "data.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
