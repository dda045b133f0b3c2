"""Trains and audits with 1, 2 and 3 processes into a folder, for ``test_distributed.py``."""

import copy
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from condgen import experiments, processes
from condgen.classifier import GenerativeClassifier
from condgen.config import load_preset
from condgen.data.catalogue import open_dataset
from condgen.errors import CondgenError
from condgen.models.gaussian import DiagonalGaussian
from condgen.models.memory import training_memory
from condgen.models.pixelcnn import PixelCNN
from condgen.randomness import drawing_for, stream
from condgen.registry import AUDITS
from condgen.runs import Run
from condgen.training.maximum_likelihood import MaximumLikelihood
from tests.conftest import TINY, tiny_glow
from tests.together import together

# With the rate and the warm-up of the paper: Adam's first step turns a gradient that is zero up to
# rounding, such as that of actnorm's shift, into a full step.
PAPER = (
    "training.epochs=9",
    "training.warm_up_steps=500",
    "training.learning_rate=0.001",
    "training.average=0.9",
    "model.precision=float32",
)
GLOW = (
    *TINY,
    *PAPER,
    "training.max_steps=50",
    "training.accumulation=2",
    "model.memory=constant",
)
LARGE = (*GLOW, "training.batch_size=300", "training.max_steps=3")  # noise in two blocks
FLOW_GAN = (
    *TINY,
    *PAPER,
    "objective.name=flow-gan",
    "objective.critic_width=8",
    "objective.critic_steps=2",
    "training.max_steps=10",
)
PIXELCNN = (
    *PAPER,
    "training.max_steps=10",
    "model.filters=8",
    "model.blocks=1",
    "model.dropout=0.5",
)
RUNS = {
    "glow": ("digits-reweight", GLOW),
    "large": ("digits-split", LARGE),
    "flow-gan": ("digits-base", FLOW_GAN),
    "pixelcnn": ("digits-pixelcnn", PIXELCNN),
}


def train(name: str, path: Path, *settings: str, **options: Any) -> Run:
    preset, own = RUNS[name]
    config = load_preset(preset, (*own, *settings))
    return experiments.train(config, path, quiet=True, **options)


def all_runs(folder: Path) -> None:
    for name in RUNS:
        train(name, folder / f"{name}-{os.environ['WORLD_SIZE']}")


def audit(path: Path) -> None:
    few = ("audit.adversarial.attacked=8", "audit.snapshots.test_images=40")
    experiments.audit(Run.open(path), list(AUDITS.names()), overrides=few, quiet=True)


def in_step(number: int, work: Callable[[], object]) -> None:
    """Call ``work`` in the second process, in the middle of training step ``number``."""
    add, left = MaximumLikelihood._add_gradient, [number]

    def counted(*args: Any) -> torch.Tensor:
        left[0] -= 1
        if left[0] == 0:
            work()
        return add(*args)

    if os.environ["RANK"] == "1":
        MaximumLikelihood._add_gradient = counted  # type: ignore[method-assign]


def infinite() -> None:
    """Make the losses of this process infinite from now on."""
    now = MaximumLikelihood._objective_now.fget  # type: ignore[attr-defined]
    broken = property(lambda step: lambda *args: now(step)(*args) * torch.inf)
    MaximumLikelihood._objective_now = broken  # type: ignore[assignment,method-assign]


def disturbed(path: Path, work: Callable[[], object]) -> None:
    in_step(12, work)
    says(path, lambda: train("glow", path, "training.checkpoint_minutes=1e-9"))


def says(path: Path, work: Callable[[], object]) -> None:
    """Write the error of this process to a file."""
    try:
        work()
    except CondgenError as error:
        path.with_name(f"{path.name}-{os.environ['RANK']}.txt").write_text(str(error))
        raise SystemExit(2) from error


def unused_parameter(path: Path) -> None:
    density = DiagonalGaussian(torch.rand(10, 1, 8, 8), pixel_levels=17)
    density.mean, density.unused = nn.Parameter(density.mean), nn.Parameter(torch.zeros(1))
    classifier, training = GenerativeClassifier(density), {"epochs": 1}
    data = open_dataset("digits")
    says(path, lambda: experiments.fit(classifier, data, path, training=training, quiet=True))


def closed_form(path: Path) -> None:
    config = load_preset("digits-gaussian")
    says(path, lambda: experiments.train(config, path, quiet=True))


def one_measures_its_memory() -> None:
    """Measuring initializes a copy of the model, of which the others know nothing."""
    with processes.joined():
        if processes.rank() == 1:
            training_memory(tiny_glow())
        assert processes.gather(processes.rank()) == [0, 1]


def initialized_together() -> None:
    """The first batch initializes equal copies, as if one process had seen all of it."""
    with processes.joined():
        for make in (tiny_glow, tiny_pixelcnn):
            torch.manual_seed(0)
            model, x = make().train(), torch.rand(9, 1, 4, 4) ** 2
            together, alone = copy.deepcopy(model), copy.deepcopy(model)
            rows = processes.rows_of(len(x))
            with torch.no_grad(), together.fresh_noise(stream(0, "noise")), drawing_for(rows):
                together.class_log_prob(x[rows.index])
            with torch.no_grad(), alone.fresh_noise(stream(0, "noise")), processes.alone():
                alone.class_log_prob(x)
            for name, tensor in together.state_dict().items():
                assert all(torch.equal(tensor, each) for each in processes.gather(tensor)), name
                torch.testing.assert_close(tensor, alone.state_dict()[name], rtol=1e-5, atol=1e-5)


def tiny_pixelcnn() -> PixelCNN:
    return PixelCNN(3, event_shape=(1, 4, 4), filters=4, blocks=1, levels=1, dropout=0.5)


def main() -> None:
    folder, codes = Path(sys.argv[1]), {}
    for count in (1, 2, 3):
        codes[f"train-{count}"] = together(count, partial(all_runs, folder))
    for count in (1, 3):
        path = folder / f"audited-{count}"
        shutil.copytree(folder / "glow-1", path)
        codes[f"audit-{count}"] = together(count, partial(audit, path))
    resumed = folder / "resumed"
    codes["begin"] = together(2, lambda: train("flow-gan", resumed, minutes=0))
    codes["resume"] = together(3, lambda: train("flow-gan", resumed, resume=True))
    for name, work in {
        "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "stopped": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "infinite": infinite,
    }.items():
        codes[name] = together(3, partial(disturbed, folder / name, work))
    codes["unused"] = together(2, partial(unused_parameter, folder / "unused"))
    codes["closed form"] = together(2, partial(closed_form, folder / "closed-form"))
    codes["initialized"] = together(3, initialized_together)
    codes["memory"] = together(2, one_measures_its_memory)
    (folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main()
