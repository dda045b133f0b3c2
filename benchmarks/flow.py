"""Benchmark Glow at the paper's MNIST shape against normflows and FrEIA: speed and memory.

Writes ``benchmarks/results/flow.json``. All models have 4 levels of 12 blocks (coupling network
3x3, 1x1, 3x3 of width 128) on 2x32x32 inputs, batch 64. Alternating rounds spread other load of the
machine evenly. One thread is measured in process time, two threads in wall-clock time. Each model
runs in its own process. "Tuned" models use condgen's allocator settings, which alone make normflows
train faster. "Library" is condgen's flow with PyTorch's convolutions instead of the blocked
coupling networks.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import FrEIA.framework
import FrEIA.modules
import normflows
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from benchmarks.evidence import RESULTS, commit, cpu, keep, kept, matrix_limit, printed_by
from benchmarks.rounds import ROUNDS, Calls, images_per_second, precisions
from condgen import ClassMixture, GenerativeClassifier, Glow, machine
from condgen.config import Training
from condgen.models.glow import coupling_network
from condgen.models.summary import summarize
from condgen.randomness import stream
from condgen.runs import installed_versions
from condgen.training.maximum_likelihood import MaximumLikelihood
from condgen.training.objectives import Likelihood

LEVELS, BLOCKS, WIDTH, BATCH, CLASSES = 4, 12, 128, 64, 10
SHAPES = [(2 << level, 32 >> level) for level in range(LEVELS)]
DIMS, LATENT = 1024, 2048
KINDS = ("training", "likelihood")
LEARNING_RATE, CLIP_NORM = 1e-4, 50.0


def ours(
    precision: torch.dtype | None, blocks: int = BLOCKS, constant_memory: bool = False
) -> Glow:
    return Glow(
        ClassMixture(CLASSES, LATENT),
        event_shape=(1, 32, 32),
        levels=LEVELS,
        blocks=blocks,
        width=WIDTH,
        precision=precision,
        constant_memory=constant_memory,
    )


def normflows_glow() -> nn.Module:
    """The same architecture in normflows, which squeezes between the levels."""
    bases, flows = [], []
    for channels, size in reversed(SHAPES):
        level = [normflows.flows.GlowBlock(channels, WIDTH) for _ in range(BLOCKS)]
        flows.append([*level, normflows.flows.Squeeze()] if size < 32 else level)
        kept = channels if size == 32 >> (LEVELS - 1) else channels // 2
        bases.append(normflows.distributions.ClassCondDiagGaussian((kept, size, size), CLASSES))
    merges = [normflows.flows.Merge() for _ in range(LEVELS - 1)]
    return normflows.MultiscaleFlow(bases, flows, merges, class_cond=True)


class FreiaGlow(nn.Module):
    """FrEIA's one-sided couplings, 1x1 convolutions and actnorm, with condgen's class prior."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for channels, size in SHAPES:
            level = FrEIA.framework.SequenceINN(channels, size, size)
            for _ in range(BLOCKS):
                level.append(FrEIA.modules.ActNorm)
                level.append(
                    FrEIA.modules.Fixed1x1Conv,
                    M=torch.linalg.qr(torch.randn(channels, channels))[0],
                )
                level.append(FrEIA.modules.AffineCouplingOneSided, subnet_constructor=self.network)
            self.levels.append(level)
        self.prior = ClassMixture(CLASSES, LATENT)

    @staticmethod
    def network(channels_in: int, channels_out: int) -> nn.Module:
        layers = [
            nn.Conv2d(channels_in, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 1),
            nn.ReLU(),
        ]
        return nn.Sequential(*layers, nn.Conv2d(WIDTH, channels_out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        parts, total = [], x.new_zeros(len(x))
        for depth, level in enumerate(self.levels):
            if depth:
                left, x = x.chunk(2, dim=1)
                parts.append(left.flatten(1))
                x = pixel_unshuffle(x, 2)
            x, log_det = level(x)
            total = total + log_det
        return self.prior(torch.cat([*parts, x.flatten(1)], 1))[0] + total[:, None]


def step_of(model: nn.Module, negative_log_likelihood: Callable[[], Tensor]) -> Callable[[], None]:
    """Training step of another library; for condgen see :func:`training_step`."""
    adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def step() -> None:
        adam.zero_grad()
        loss = negative_log_likelihood()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        adam.step()

    return step


def training_step(glow: Glow) -> Callable[[Tensor, Tensor], object]:
    """The training step of condgen, a function of images and labels."""
    settings = Training(
        batch_size=BATCH, learning_rate=LEARNING_RATE, clip_norm=CLIP_NORM, warm_up_steps=0
    )
    step = MaximumLikelihood(
        GenerativeClassifier(glow), Likelihood(), settings, steps_per_epoch=1000
    )
    noise = stream(0, "noise")
    return lambda x, label: step.step(x, label, noise)


def ours_timed(precision: str, library: bool = False) -> Calls:
    """Calls of condgen; ``library`` selects the PyTorch convolutions of other devices."""
    if library:
        coupling_network.BLOCKED_ON = ()
    image, label = torch.rand(BATCH, 1, 32, 32), torch.arange(BATCH) % CLASSES
    glow = ours(precisions()[precision])
    step = training_step(glow)
    return {
        "training": lambda: step(image, label),
        "likelihood": lambda: glow.class_log_prob(image),
    }


def normflows_timed() -> Calls:
    noisy, label = torch.rand(BATCH, 2, 32, 32) - 0.5, torch.arange(BATCH) % CLASSES
    glow = normflows_glow()
    step = step_of(glow, lambda: -glow.log_prob(noisy, label).mean() / DIMS)
    one_hot_pass = lambda y: glow.log_prob(noisy, torch.full((BATCH,), y))  # noqa: E731
    return {"training": step, "likelihood": lambda: [one_hot_pass(y) for y in range(CLASSES)]}


def freia_timed() -> Calls:
    noisy, label = torch.rand(BATCH, 2, 32, 32) - 0.5, torch.arange(BATCH) % CLASSES
    glow = FreiaGlow()
    step = step_of(glow, lambda: -glow(noisy).gather(1, label[:, None]).mean() / DIMS)
    return {"training": step, "likelihood": lambda: glow(noisy)}


def contenders() -> dict[str, Callable[[], Calls]]:
    """Constructors of all models by name. "Tuned" models use condgen's allocator settings."""
    made: dict[str, Callable[[], Calls]] = {}
    for precision in precisions():
        made[f"condgen {precision}"] = partial(ours_timed, precision)
        made[f"library {precision}"] = partial(ours_timed, precision, library=True)
    made |= {"normflows": normflows_timed, "normflows tuned": normflows_timed}
    return made | {"FrEIA": freia_timed, "FrEIA tuned": freia_timed}


PEAK = """
import time
import torch
from benchmarks.evidence import peak_bytes
from benchmarks.flow import BATCH, CLASSES, ours, training_step
from condgen import machine
machine.prepare(1)
glow = ours(None, blocks={blocks}, constant_memory={constant})
step, label = training_step(glow), torch.arange(BATCH) % CLASSES
times = []
for _ in range(3):
    start = time.process_time()
    step(torch.rand(BATCH, 1, 32, 32), label)
    times.append(time.process_time() - start)
own = 4 * sum(p.nbytes for p in glow.parameters())  # weights, gradients and two moments
print(peak_bytes() - own, min(times))
"""


def peak(blocks: int, constant: bool) -> tuple[float, float]:
    """Peak bytes of a training process without parameters and optimizer, and seconds per step."""
    memory, of_step = printed_by(PEAK.format(blocks=blocks, constant=constant))
    return memory, of_step


def memory() -> dict[str, float]:
    """Memory and time with stored activations and with constant memory.

    12 blocks: the minimum of alternating rounds, because other load of the machine only adds.
    """
    turns = torch.tensor(
        [[peak(12, False), peak(12, True)] for _ in range(ROUNDS)], dtype=torch.float64
    )
    (stored_12, time_stored), (constant_12, time_constant) = turns.amin(0).tolist()
    (stored_48, _), (constant_48, _) = peak(48, False), peak(48, True)
    return {
        "memory_growth_stored": stored_48 / stored_12 - 1,
        "memory_growth_constant": constant_48 / constant_12 - 1,
        "constant_peak_mb": constant_48 / 2**20,
        "stored_peak_mb": stored_48 / 2**20,
        "constant_time_ratio": time_constant / time_stored,
    }


def ratios(speeds: dict[str, dict[str, float]], ours: str, suffix: str = "") -> dict[str, float]:
    """Speed relative to normflows, as installed and with condgen's allocator settings."""
    words = {"train": "training", "likelihood": "likelihood"}
    return {
        f"{word}_ratio_normflows{tuned}{suffix}": speeds[ours][kind]
        / speeds[f"normflows{tuned.replace('_', ' ')}"][kind]
        for word, kind in words.items()
        for tuned in ("", "_tuned")
    }


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "flow.json", show_default=True
)
def main(out: Path) -> None:
    """Measure images per second of condgen, normflows and FrEIA, and the memory of deep models."""
    speeds = {
        threads: images_per_second(contenders, KINDS, BATCH, threads)
        for threads in (1, 2)
        if threads <= machine.usable_cores()
    }
    machine.prepare(threads=1)
    here = torch.device("cpu")
    limits = {
        name: matrix_limit(precision, here, 2048, time.process_time)
        for name, precision in precisions().items()
    }
    gflops = {
        name: speeds[1][f"condgen {name}"]["training"] * summarize(ours(None)).training_flops / 1e9
        for name in limits
    }
    fastest = f"condgen {list(limits)[-1]}"
    results: dict[str, object] = {
        "versions": {**installed_versions(), "normflows": "1.7.3", "FrEIA": "0.2"},
        "machine": cpu(),
        "commit": commit(),
        "images_per_second": speeds,
        "compared": fastest,
        **ratios(speeds[1], fastest),
        **(ratios(speeds[2], fastest, "_2_threads") if 2 in speeds else {}),
        "matrix_limit_gflops": limits,
        "training_gflops": gflops,
        "fraction_of_limit": {name: gflops[name] / limits[name] for name in limits},
        **memory(),
        **{
            key: value
            for key, value in kept(RESULTS / "bf16.json").items()
            if key.startswith("bf16_")
        },
    }
    keep(out, results)
    print(out.read_text())


if __name__ == "__main__":
    main()
