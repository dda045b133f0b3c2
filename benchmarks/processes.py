"""Speed of two processes against one, each with one thread, in alternating rounds.

Training steps at the paper's MNIST shape, in float32 and, where the machine has it, bfloat16; and
the adversarial audit of a trained run (``--run``), on a copy. Processes start once and wait for
their turn. Writes ``benchmarks/results/processes.json``; CONDGEN_DATA names the real data.
"""

import argparse
import os
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.evidence import RESULTS, about, keep, kept
from benchmarks.rounds import precisions
from condgen import experiments, load_preset, machine, open_dataset, processes
from condgen.config import Images
from condgen.experiments.training import resolved
from condgen.randomness import stream
from condgen.runs import Run
from condgen.runs.restoring import build_density
from condgen.training.loader import Loader
from condgen.training.stopping import Stop

PRESET, WARM_UP = "mnist-reweight", 2  # steps
COUNTS = (1, 2)
PATH = RESULTS / "processes.json"

LARGE = {"mnist-reweight": 1, "cifar10-reweight": 3, "cifar10-pixelcnn": 3}  # image channels
NETWORKS = {1: 1e-4, 10: 5e-5, 100: 2e-5}  # Gbit/s; seconds per message
MACHINES = (1, 2, 4, 8, 16, 32, 64)

Work = Callable[[], Callable[[], None]]  # prepares, and returns what is timed


def training(precision: str, steps: int) -> Callable[[], None]:
    """Training steps of the paper's preset, as the training loop takes them."""
    page = resolved(load_preset(PRESET, [f"model.precision={precision}"]))
    splits = open_dataset("mnist")
    built = experiments.build(page, splits)
    loader, stop = Loader(splits.train, page.training.batch_size, built.augmentation, 0), Stop()
    batches = loader.epoch(0)

    def take(number: int) -> None:
        for _ in range(number):
            x, label = next(batches)
            built.step.step(x, label, stream(0, "noise", 0, built.step.taken))
            stop.check()

    take(WARM_UP)
    return partial(take, steps)


def audit(run: Path, images: int) -> Callable[[], None]:
    """The adversarial audit of a run, without its records of earlier rounds."""
    settings = ("audit.adversarial.budget=smoke", f"audit.adversarial.attacked={images}")
    folder = Run.open(run)

    def make() -> None:
        processes.from_first(lambda: shutil.rmtree(run / "records", ignore_errors=True))
        experiments.audit(folder, ["adversarial"], overrides=settings, quiet=True)

    return make


def communication() -> dict[str, Any]:
    """Estimated milliseconds per step to average gradients in a ring, by preset and network.

    Each of N machines sends and receives 2 (N - 1) / N times the gradient, in 2 (N - 1) messages.
    """
    found: dict[str, Any] = {}
    for preset, channels in LARGE.items():
        settings = load_preset(preset).model.on("cpu")
        density = build_density(
            settings, Images(shape=[channels, 32, 32], classes=10, levels=256), 0
        )
        size = sum(each.numel() * each.element_size() for each in density.parameters())
        found[preset] = {"gradient_mb": round(size / 1e6, 1)}
        for gigabits, latency in NETWORKS.items():
            found[preset][f"{gigabits} Gbit/s"] = {
                str(count): round(
                    1e3 * 2 * (count - 1) * (size / count / (gigabits * 1e9 / 8) + latency), 1
                )
                for count in MACHINES
            }
    return found


def serve(connection: Connection, number: int, count: int, port: int, work: Work) -> None:
    """Join the other processes of this group; for each message, send the seconds of the work."""
    if count > 1:
        place = {"RANK": number, "LOCAL_RANK": number, "MASTER_PORT": port}
        sizes = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1"}
        os.environ.update({key: str(value) for key, value in (place | sizes).items()})
    machine.prepare(1)
    with processes.joined():
        timed = work()
        connection.send(None)
        while connection.recv():
            start = time.perf_counter()
            timed()
            connection.send(time.perf_counter() - start)


def measured(work: Work, rounds: int) -> dict[str, Any]:
    """Seconds of each number of processes by round, and how many times faster two are."""
    spawn, groups = get_context("spawn"), {}
    for count in COUNTS:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        groups[count] = [spawn.Pipe() for _ in range(count)]
        for number, (_, theirs) in enumerate(groups[count]):
            arguments = (theirs, number, count, port, work)
            spawn.Process(target=serve, args=arguments, daemon=True).start()
            theirs.close()
        for ours, _ in groups[count]:
            ours.recv()  # this group is ready before the next one starts
    seconds: dict[int, list[float]] = {count: [] for count in COUNTS}
    for number in range(rounds):
        for count in COUNTS[:: 1 if number % 2 == 0 else -1]:
            for ours, _ in groups[count]:
                ours.send(True)
            seconds[count].append(max(ours.recv() for ours, _ in groups[count]))
    for group in groups.values():
        for ours, _ in group:
            ours.send(False)
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return {
        "seconds": {str(count): [round(each, 2) for each in seconds[count]] for count in COUNTS},
        "times_faster": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a trained run to audit")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    found = kept(PATH) | about() | {"threads_per_process": 1}
    found["communication_ms"] = communication()
    if arguments.run:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            shutil.copytree(arguments.run, run)
            found["audit"] = {
                "model": Run.open(run).config.preset,
                "images": arguments.images,
                "budget": "smoke",
                **measured(partial(audit, run, arguments.images), arguments.rounds),
            }
    else:
        found["training"] = {
            precision: {
                "preset": PRESET,
                "steps": arguments.steps,
                **measured(partial(training, precision, arguments.steps), arguments.rounds),
            }
            for precision in precisions()
        }
    keep(PATH, found)
    print(PATH.read_text())


if __name__ == "__main__":
    main()
