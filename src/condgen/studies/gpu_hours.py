"""Estimated GPU hours of the trainings of a study, on a machine without a GPU."""

from dataclasses import dataclass
from pathlib import Path

from condgen import experiments
from condgen.data.dataset import ImageDataset
from condgen.errors import CondgenError
from condgen.studies.plan import Plan
from condgen.training.loader import steps_in_all, steps_per_epoch
from condgen.training.maximum_likelihood import MaximumLikelihoodSettings


@dataclass(frozen=True)
class Rate:
    """The speed of a family's trainings in bfloat16 with batch 64, measured (docs/gpu.md).

    Args:
        flops: Floating-point operations per second.
        least: Operations per image of the model that was measured. A smaller model does fewer per
            second, because the launches of operations take the time.
        where: The machine.
    """

    flops: float
    least: float
    where: str


RATES = {
    "glow": Rate(7.1e12, 2e9, "compiled, one H200"),
    "pixelcnn": Rate(55e12, 1e11, "one H100"),
}
LONG = 12 * 3600.0  # seconds on this machine; a sentence on GPUs is printed beyond


def gpu_words(plan: Plan, data_dir: Path | None, only: str = "*") -> str:
    """A sentence on the GPU hours of the trainings to do, from their arithmetic.

    Only of families, sizes and objectives that were measured on a GPU; empty if there are none.
    """
    hours: dict[str, float] = {}
    known: dict[str, tuple[float, ImageDataset]] = {}  # seconds per image, and the images
    for step in plan.pending(only):
        config, rate = step.config, RATES.get(step.config.model.name)
        plain = type(config.objective).step is MaximumLikelihoodSettings.step
        if not step.is_training or rate is None or not plain:
            continue
        key = f"{config.model!r} {config.data!r}"
        try:
            if key not in known:
                flops = experiments.summarize(config, data_dir, "cuda").training_flops
                seconds = flops / rate.flops if flops >= rate.least else 0.0
                known[key] = seconds, experiments.open_data(config, data_dir).train
            seconds, train = known[key]
            steps = steps_in_all(steps_per_epoch(train, config.training), config.training)
        except CondgenError:
            continue  # the step itself will raise it
        taken = steps * config.training.batch_size * seconds / 3600
        hours[config.model.name] = hours.get(config.model.name, 0.0) + taken
    parts = [
        f"{hours[name]:.1f} for {name} ({rate.flops / 1e12:g} TFLOP/s, {rate.where})"
        for name, rate in RATES.items()
        if hours.get(name)
    ]
    words = f"GPU hours of the trainings, from their arithmetic: about {', '.join(parts)}."
    return words if parts else ""
