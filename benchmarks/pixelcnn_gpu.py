"""Training speed and memory of PixelCNN++ at the paper's size on a GPU, for batch sizes.

Writes ``benchmarks/results/pixelcnn-gpu.json``: images/s of single steps on random images, peak
memory, and the fraction of the GFLOP/s of a large matrix product.
"""

import time
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks import pixelcnn
from benchmarks.evidence import RESULTS, about, keep, matrix_limit
from condgen import GenerativeClassifier, machine
from condgen.config import Training
from condgen.models.summary import summarize
from condgen.randomness import stream
from condgen.training.maximum_likelihood import MaximumLikelihood
from condgen.training.objectives import Likelihood

PRODUCT = {"cuda": 8192, "cpu": 512}
FIRST, STEPS = 2, 4  # steps before the timed ones, and timed steps


def measured(batch: int, compiled: bool, device: torch.device) -> dict[str, Any]:
    """Speed and peak memory of training steps of ``batch`` images."""
    model = pixelcnn.ours(torch.bfloat16, blocks=pixelcnn.PAPER_BLOCKS).to(device)
    if compiled:
        model.compile_for_training()
    settings = Training(batch_size=batch, learning_rate=1e-3)
    step = MaximumLikelihood(GenerativeClassifier(model), Likelihood(), settings, 1000)
    x = torch.rand(batch, *pixelcnn.SHAPE)
    label = torch.arange(batch) % pixelcnn.CLASSES
    for number in range(FIRST + STEPS):
        if number == FIRST:
            start = time.perf_counter()
        step.step(x, label, stream(0, "noise", number))["loss"].item()  # waits for the device
    seconds = (time.perf_counter() - start) / STEPS
    found: dict[str, Any] = {"seconds_per_step": seconds, "images_per_second": batch / seconds}
    if device.type == "cuda":
        found["peak_memory_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
        torch.cuda.reset_peak_memory_stats(device)
    return found


@click.command()
@click.option("--device", type=click.Choice(machine.DEVICES), default="cuda", show_default=True)
@click.option("--batch", type=click.IntRange(1), multiple=True, default=(64, 128))
@click.option("--compiled", is_flag=True, help="Also with training.compile = true.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "pixelcnn-gpu.json",
    show_default=True,
)
def main(device: str, batch: tuple[int, ...], compiled: bool, out: Path) -> None:
    """Measure training steps of PixelCNN++ on DEVICE."""
    machine.prepare()
    place = machine.prepare_device(device)
    limit = matrix_limit(torch.bfloat16, place, PRODUCT[place.type])
    flops = summarize(pixelcnn.ours(blocks=pixelcnn.PAPER_BLOCKS)).training_flops
    found = {}
    for way in (False, True) if compiled else (False,):
        for number in batch:
            each = measured(number, way, place)
            gflops = each["images_per_second"] * flops / 1e9
            each |= {"training_gflops": gflops, "fraction_of_limit": gflops / limit}
            found[f"batch {number}" + ", compiled" * way] = each
    keep(out, {"matrix_limit_gflops": limit, "training": found, **about(place)})
    click.echo(out.read_text())


if __name__ == "__main__":
    main()
