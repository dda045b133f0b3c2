"""Benchmark PixelCNN++ with the paper's 160 filters: sampling, training, likelihood and memory.

Writes ``benchmarks/results/pixelcnn.json``. "Plain" is the same network in plain PyTorch, written
for this comparison: ``nn.Conv2d`` with PyTorch's weight normalization and dropout, and the
reference's likelihood with differences of CDFs. Naive sampling is extrapolated from one forward
pass per pixel.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, elu, pad, softplus
from torch.nn.utils.parametrizations import weight_norm

from benchmarks.evidence import RESULTS, commit, cpu, keep, matrix_limit, printed_by
from benchmarks.rounds import Calls, images_per_second, precisions
from condgen import GenerativeClassifier, machine
from condgen.config import Training
from condgen.models.pixelcnn import PixelCNN
from condgen.models.summary import summarize
from condgen.randomness import stream
from condgen.runs import installed_versions
from condgen.training.maximum_likelihood import MaximumLikelihood
from condgen.training.objectives import Likelihood

SHAPE, CLASSES, FILTERS, LEVELS = (3, 32, 32), 10, 160, 3
BLOCKS = 1  # for speed: with the paper's 5, three processes need 30 GiB
PAPER_BLOCKS = 5  # for sampling and memory
BATCH = 32  # two pieces, so that two threads have work
PIXELS = SHAPE[1] * SHAPE[2]
DIMS = SHAPE[0] * PIXELS
SAMPLED_AT_ONCE = (1, 16)


def ours(
    precision: torch.dtype | None = None, recompute: bool = False, blocks: int | None = None
) -> PixelCNN:
    return PixelCNN(
        CLASSES,
        event_shape=SHAPE,
        filters=FILTERS,
        blocks=blocks or BLOCKS,
        levels=LEVELS,
        precision=precision,
        recompute=recompute,
    )


class Shifted(nn.Module):
    """A convolution, or a transposed one, with explicit padding or cropping."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, up: bool = False
    ):
        super().__init__()
        rows, columns = kernel
        side = (columns - 1) // 2 if kernel == (2, 3) else columns - 1
        self.pads = (side, side if kernel == (2, 3) else 0, rows - 1, 0)
        self.crop = side if kernel == (2, 3) else 0
        self.up = up
        layer = nn.ConvTranspose2d if up else nn.Conv2d
        self.layer = weight_norm(layer(inputs, outputs, kernel, stride), dim=1 if up else 0)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            width = 2 * x.shape[-1]
            return self.layer(x)[..., self.crop : self.crop + width]
        return self.layer(pad(x, self.pads))


def nonlinear(x: Tensor) -> Tensor:
    return elu(torch.cat([x, -x], 1))


class Residual(nn.Module):
    def __init__(self, kernel: tuple[int, int], extra: int):
        super().__init__()
        self.first = Shifted(2 * FILTERS, FILTERS, kernel)
        self.extra = weight_norm(nn.Conv2d(2 * extra, FILTERS, 1)) if extra else None
        self.second = Shifted(2 * FILTERS, 2 * FILTERS, kernel)

    def forward(self, x: Tensor, a: Tensor | None = None) -> Tensor:
        hidden = self.first(nonlinear(x))
        if a is not None:
            hidden = hidden + self.extra(nonlinear(a))
        value, gate = self.second(dropout(nonlinear(hidden), 0.5, self.training)).chunk(2, 1)
        return x + value * torch.sigmoid(gate)


class Plain(nn.Module):
    """The network and its likelihood in plain PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        down, right = (2, 3), (2, 2)
        channels = SHAPE[0]
        self.u_first = Shifted(channels + 1, FILTERS, down)
        self.ul_above = weight_norm(nn.Conv2d(channels + 1, FILTERS, (1, 3)))
        self.ul_left = weight_norm(nn.Conv2d(channels + 1, FILTERS, (2, 1)))
        several = [BLOCKS] * LEVELS
        more = [BLOCKS + 1] * (LEVELS - 1) + [BLOCKS]

        def residuals(kernel: tuple[int, int], numbers: list[int], extra: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleList(Residual(kernel, extra) for _ in range(number)) for number in numbers
            )

        def sizes(kernel: tuple[int, int], up: bool) -> nn.ModuleList:
            return nn.ModuleList(
                Shifted(FILTERS, FILTERS, kernel, 2, up) for _ in range(LEVELS - 1)
            )

        self.u_down, self.ul_down = residuals(down, several, 0), residuals(right, several, FILTERS)
        self.u_up = residuals(down, more, FILTERS)
        self.ul_up = residuals(right, more, 2 * FILTERS)
        self.u_halve, self.ul_halve = sizes(down, False), sizes(right, False)
        self.u_double, self.ul_double = sizes(down, True), sizes(right, True)
        self.last = nn.Conv2d(FILTERS, 9 * CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """log p(x | y) of images in [-1, 1], shape ``(N, classes)``."""
        seen = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        u = pad(self.u_first(seen), (0, 0, 1, -1))
        ul = pad(self.ul_above(pad(seen, (1, 1))), (0, 0, 1, -1))
        ul = ul + pad(self.ul_left(pad(seen, (0, 0, 1, 0))), (1, -1))
        us, uls = [u], [ul]
        for level in range(LEVELS):
            if level:
                u, ul = self.u_halve[level - 1](u), self.ul_halve[level - 1](ul)
                us.append(u)
                uls.append(ul)
            for u_block, ul_block in zip(self.u_down[level], self.ul_down[level], strict=True):
                u = u_block(u)
                ul = ul_block(ul, u)
                us.append(u)
                uls.append(ul)
        u, ul = us.pop(), uls.pop()
        for level in reversed(range(LEVELS)):
            for u_block, ul_block in zip(self.u_up[level], self.ul_up[level], strict=True):
                u = u_block(u, us.pop())
                ul = ul_block(ul, torch.cat([u, uls.pop()], 1))
            if level:
                u, ul = self.u_double[level - 1](u), self.ul_double[level - 1](ul)
        return self.log_prob(x, self.last(elu(ul)).unflatten(1, (CLASSES, 9)))

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        mean, log_scale, coefficients = (
            raw[:, :, :3],
            raw[:, :, 3:6].clamp(-7),
            raw[:, :, 6:].tanh(),
        )
        red, green, v = x[:, None, 0], x[:, None, 1], x[:, None]
        shift = [
            torch.zeros_like(mean[:, :, 0]),
            coefficients[:, :, 0] * red,
            coefficients[:, :, 1] * red + coefficients[:, :, 2] * green,
        ]
        centered, inverse = v - mean - torch.stack(shift, 2), torch.exp(-log_scale)
        plus, minus = inverse * (centered + 1 / 255), inverse * (centered - 1 / 255)
        middle = inverse * centered
        mass = torch.sigmoid(plus) - torch.sigmoid(minus)
        density = middle - log_scale - 2 * softplus(middle) - torch.log(torch.tensor(127.5))
        inside = torch.where(mass > 1e-5, mass.clamp(1e-12).log(), density)
        low, high = plus - softplus(plus), -softplus(minus)
        each = torch.where(v < -0.999, low, torch.where(v > 0.999, high, inside))
        return each.flatten(2).sum(2)


def ours_timed(precision: str) -> Calls:
    """Calls of condgen."""
    model = ours(precisions()[precision])
    x, label = images(), torch.arange(BATCH) % CLASSES
    settings = Training(batch_size=BATCH, learning_rate=1e-4, warm_up_steps=0)
    classifier = GenerativeClassifier(model)
    step = MaximumLikelihood(classifier, Likelihood(), settings, 1000)

    def likelihood() -> None:
        classifier.eval()  # not the model alone: a step looks at the classifier's mode
        model.class_log_prob(x)

    return {
        "training": lambda: step.step(x, label, stream(0, "noise")),
        "likelihood": likelihood,
    }


def plain_timed() -> Calls:
    """Calls of the plain implementation."""
    model, x, label = Plain(), images(), torch.arange(BATCH) % CLASSES
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        adam.zero_grad()
        log_prob = model.train()(2 * x - 1).gather(1, label[:, None])
        (-log_prob.mean() / DIMS).backward()
        adam.step()

    return {"training": step, "likelihood": lambda: model.eval()(2 * x - 1)}


def images() -> Tensor:
    return torch.randint(0, 256, (BATCH, *SHAPE), generator=stream(0, "images")) / 255


def contenders() -> dict[str, Callable[[], Calls]]:
    """Constructors of both implementations by name."""
    made: dict[str, Callable[[], Calls]] = {
        f"condgen {precision}": partial(ours_timed, precision) for precision in precisions()
    }
    return made | {"plain tuned": plain_timed}


def sampling(threads: int) -> dict[str, float]:
    """Seconds per image of cached sampling, and how many times faster than naive sampling it is."""
    machine.prepare(threads)
    model, found = ours(blocks=PAPER_BLOCKS).eval(), {}
    for number in SAMPLED_AT_ONCE:
        x = images()[:number]
        with torch.no_grad():
            model.class_log_prob(x)
            forward = min(timed(lambda x=x: model.class_log_prob(x)) for _ in range(3))
        label = torch.zeros(number, dtype=torch.int64)
        cached = timed(lambda label=label: model.sample(label, generator=stream(0, "samples")))
        found[f"seconds_per_image_at_{number}"] = cached / number
        found[f"times_naive_at_{number}"] = PIXELS * forward / cached
    return found


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


PEAK = """
import time
import torch
from benchmarks.evidence import peak_bytes
from benchmarks.pixelcnn import PAPER_BLOCKS, ours
from condgen import machine
machine.prepare(1)
model = ours(recompute={recompute}, blocks=PAPER_BLOCKS).train()
x = torch.rand(4, 3, 32, 32)
times = []
for _ in range(3):
    start = time.process_time()
    model.class_log_prob(x).mean().backward()
    times.append(time.process_time() - start)
own = 2 * sum(p.nbytes for p in model.parameters())  # weights and gradients
print(peak_bytes() - own, min(times))
"""
NOTHING = """
from benchmarks.evidence import peak_bytes
from benchmarks.pixelcnn import ours
print(peak_bytes())
"""


def memory() -> dict[str, float]:
    """Peak memory of a forward and backward pass of 4 images, without the process and weights."""
    (process,) = printed_by(NOTHING)
    (stored, time_stored), (recomputed, time_recomputed) = (
        printed_by(PEAK.format(recompute=recompute)) for recompute in (False, True)
    )
    return {
        "stored_peak_mb": (stored - process) / 2**20,
        "recomputed_peak_mb": (recomputed - process) / 2**20,
        "recomputed_memory_ratio": (recomputed - process) / (stored - process),
        "recomputed_time_ratio": time_recomputed / time_stored,
    }


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "pixelcnn.json", show_default=True
)
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True)
def main(out: Path, rounds: int) -> None:
    """Measure sampling, training, likelihood and memory of PixelCNN++."""
    threads = [number for number in (1, 2) if number <= machine.usable_cores()]
    samples = {number: sampling(number) for number in threads}
    speeds = {
        number: images_per_second(
            contenders, ("training", "likelihood"), BATCH, number, rounds=rounds
        )
        for number in threads
    }
    machine.prepare(threads=1)
    limits = {
        name: matrix_limit(precision, torch.device("cpu"), 2048, time.process_time)
        for name, precision in precisions().items()
    }
    summary = summarize(ours())
    gflops = {
        name: speeds[1][f"condgen {name}"]["training"] * summary.training_flops / 1e9
        for name in limits
    }
    paper = summarize(ours(blocks=PAPER_BLOCKS))
    drawn = paper.likelihood_flops / 1e9 / samples[1]["seconds_per_image_at_16"]
    results = {
        "versions": installed_versions(),
        "machine": cpu(),
        "commit": commit(),
        "batch": BATCH,
        "blocks": BLOCKS,
        "sampling": samples,
        "images_per_second": speeds,
        "matrix_limit_gflops": limits,
        "training_gflops": gflops,
        "fraction_of_limit": {name: gflops[name] / limits[name] for name in limits},
        "sampling_gflops_at_16": drawn,
        "sampling_fraction_of_limit": drawn / limits["float32"],
        **memory(),
    }
    keep(out, results)
    print(out.read_text())


if __name__ == "__main__":
    main()
