"""Estimated GPU hours of the trainings of a study, on a machine without a GPU."""

from pathlib import Path

from condgen import experiments
from condgen.errors import CondgenError
from condgen.studies.plan import Plan
from condgen.training.loader import steps_in_all, steps_per_epoch

# floating-point operations per second of a bfloat16 training with batch 64, measured (docs/gpu.md)
RATES = {
    "glow": (7.1e12, "compiled, one H200"),
    "pixelcnn": (55e12, "one H100"),
}
LONG = 12 * 3600.0  # seconds on this machine; a sentence on GPUs is printed beyond


def gpu_words(plan: Plan, data_dir: Path | None) -> str:
    """A sentence on the GPU hours of the trainings that are left, from their arithmetic.

    Empty if there are none of a family that was measured on a GPU.
    """
    hours: dict[str, float] = {}
    seconds: dict[str, float] = {}  # of an image
    for run in plan.runs:
        config = run.run.config
        if run.trained or config.model.name not in RATES:
            continue
        key = f"{config.model!r} {config.data!r}"
        try:
            if key not in seconds:
                flops = experiments.summarize(config, data_dir, "cuda").training_flops
                seconds[key] = flops / RATES[config.model.name][0]
            train = experiments.open_data(config, data_dir).train
            steps = steps_in_all(steps_per_epoch(train, config.training), config.training)
        except CondgenError:
            continue  # the step itself will raise it
        taken = steps * config.training.batch_size * seconds[key] / 3600
        hours[config.model.name] = hours.get(config.model.name, 0.0) + taken
    if not hours:
        return ""
    parts = [
        f"{hours[name]:.1f} for {name} ({rate / 1e12:g} TFLOP/s, {how})"
        for name, (rate, how) in RATES.items()
        if name in hours
    ]
    return f"GPU hours of all trainings, from their arithmetic: about {', '.join(parts)}."
