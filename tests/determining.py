"""Trains every kind of preset two steps with and without ``deterministic``: DIRECTORY.

The first training of a process counts: its threads are new.
"""

import sys
from pathlib import Path

import torch

from condgen import experiments, machine
from condgen.config import load_preset
from condgen.training.checkpoints import Checkpoint

SHORT = ("training.max_steps=2", "training.epochs=1", "training.snapshots=0")
TINY = ("model.blocks=1", "model.levels=2")
GLOW, PIXELCNN = (*TINY, "model.width=8"), (*TINY, "model.filters=8")
SMALLEST = {
    "digits-base": GLOW,
    "digits-reweight": (*GLOW, "model.memory=constant", "training.accumulation=2"),
    "digits-split": (*GLOW, "model.precision=bfloat16"),
    "bg-digits-reweight": (*GLOW, "data.flip=true", "data.crop_padding=1"),
    "digits-pixelcnn": PIXELCNN,
    "digits-pixelcnn ": (*PIXELCNN, "model.memory=recompute", "model.precision=bfloat16"),
    "digits-base ": (*GLOW, "objective=flow-gan", "objective.critic_width=8"),
    "digits-gaussian": (),
}


def weights(preset: str, folder: Path, *, deterministic: bool) -> dict[str, torch.Tensor]:
    config = load_preset(preset.strip(), (*SMALLEST[preset], *SHORT))
    path = folder / f"{preset}-{deterministic}"
    experiments.train(config, path, deterministic=deterministic, quiet=True)
    return Checkpoint.load(path / "checkpoint" / "last").weights


def main() -> None:
    machine.prepare(2)
    usual = {each: weights(each, Path(sys.argv[1]), deterministic=False) for each in SMALLEST}
    for preset, before in usual.items():
        after = weights(preset, Path(sys.argv[1]), deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        same = all(torch.equal(before[name], after[name]) for name in before)
        print(preset, "equal" if same else "differs")


if __name__ == "__main__":
    main()
