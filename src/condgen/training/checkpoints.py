"""Checkpoints: tensors in safetensors, the rest in TOML; a directory is complete or absent."""

import hashlib
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from condgen.errors import RunError
from condgen.files import atomic_write, digest_of, tidy

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.toml"
SNAPSHOTS = "snapshots"  # a folder of checkpoints that hold weights alone, named after their steps
OLDER_OPTIMIZER = "optimiser.safetensors"  # held the moments alone, without a prefix
UNREADABLE = (
    OSError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)  # what damaged bytes end in
MODULE_PREFIX, STATE_PREFIX = "module.", "state."  # of the names of tensors beside the weights


@dataclass(frozen=True)
class Checkpoint:
    """What a directory of ``checkpoint/`` holds.

    Training resumes from ``last``, or ``previous`` where that is damaged; ``best`` is for use.

    Attributes:
        weights: Of the density, for use.
        training: All else that training resumes from, by name: modules and optimizers.
        epoch: Epochs done; the last one may be short.
        step: Optimizer steps taken.
        metrics: On the validation images.
        made_with: Seed, data, objective and settings of the training; empty in older checkpoints.
        weights_sha256: Of the file that the weights were read from.
    """

    weights: dict[str, Tensor]
    training: dict[str, Tensor]
    epoch: int
    step: int
    metrics: dict[str, float]
    made_with: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""

    def save(self, path: Path) -> None:
        """Write to the directory ``path``; what was there is replaced once all is written."""
        contents = {WEIGHTS: save(plain(self.weights)), OPTIMIZER: save(plain(self.training))}
        sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "metrics": self.metrics,
            "made_with": {key: value for key, value in self.made_with.items() if value is not None},
            "sha256": sha256,
        }
        sha256[STATE] = digest_of(state)
        with atomic_write(path, replace_directory=True) as work:
            work.mkdir()
            for name, content in contents.items():
                (work / name).write_bytes(content)
            (work / STATE).write_text(tomli_w.dumps(state))

    @classmethod
    def load(cls, path: Path, monitor: str = "") -> "Checkpoint":
        """Read the directory ``path``.

        Args:
            path: Of the checkpoint.
            monitor: A metric that it must have.

        Raises:
            RunError: If it is missing, or a file in it is truncated or altered.
        """
        if not path.is_dir():
            tidy(path.parent)  # a kill while it was saved has put it aside
        if not path.is_dir():
            raise RunError(
                f"{path} does not exist; train the run first, or again in another --run if it was lost."
            )
        try:
            return cls._read(path, monitor)
        except (*UNREADABLE, SafetensorError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(
                f"{path} is damaged ({error}); train the run again or restore the file."
            ) from error

    @classmethod
    def _read(cls, path: Path, monitor: str) -> "Checkpoint":
        state = _state(path)
        older = OLDER_OPTIMIZER in state["sha256"]
        weights, training = (
            load(_checked(path, name, state["sha256"][name]))
            for name in (WEIGHTS, OLDER_OPTIMIZER if older else OPTIMIZER)
        )
        metrics = {name: float(value) for name, value in state["metrics"].items()}
        if monitor and monitor not in metrics:
            raise ValueError(f"no metric '{monitor}'")
        return cls(
            weights,
            {f"{STATE_PREFIX}{name}": moment for name, moment in training.items()}
            if older
            else training,
            _count(state["epoch"]),
            _count(state["step"]),
            metrics,
            dict(state.get("made_with", {})),
            str(state["sha256"][WEIGHTS]),
        )


def _state(path: Path) -> dict[str, Any]:
    """The state of the checkpoint ``path``, as it was written.

    Raises:
        ValueError: If it was altered; or anything of :data:`UNREADABLE`.
    """
    state = tomllib.loads((path / STATE).read_text())
    if unknown := set(state["sha256"]) - {WEIGHTS, OPTIMIZER, OLDER_OPTIMIZER, STATE}:
        raise ValueError(f"{STATE}: {min(unknown)} is no file of a checkpoint")
    noted = state["sha256"].pop(STATE, None)  # checkpoints of before have none
    if noted is not None and noted != digest_of(state):
        raise ValueError(f"{STATE}: sha256 differs")
    return state


def _checked(path: Path, name: str, sha256: str) -> bytes:
    content = (path / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(
            f"{path} is damaged ({name}: sha256 differs); train the run again or restore the file."
        )
    return content


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is no count")
    return value


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies as safetensors needs them: on the CPU, contiguous, without shared memory."""
    return {
        name: torch.empty_like(
            tensor, device="cpu", memory_format=torch.contiguous_format, requires_grad=False
        ).copy_(tensor.detach())
        for name, tensor in tensors.items()
    }


def keep(checkpoint: Checkpoint, directory: Path, *, best: bool) -> None:
    """Make ``checkpoint`` the best, if it is, then the last one; the one before is the previous.

    In this order a kill in between leaves a state from which the same epoch is trained again.
    """
    if best:
        keep_best(checkpoint, directory)
    last, previous = directory / "last", directory / "previous"
    if last.is_dir():
        shutil.rmtree(previous, ignore_errors=True)
        last.rename(previous)
    checkpoint.save(last)


def keep_best(checkpoint: Checkpoint, directory: Path) -> None:
    """Make ``checkpoint`` the best one; nothing resumes from it, so only the weights are kept."""
    replace(checkpoint, training={}).save(directory / "best")


def begun(directory: Path) -> bool:
    """Whether there is a checkpoint to resume from, damaged or not.

    A kill before the first one leaves ``best`` at most.
    """
    return any((directory / name).is_dir() for name in ("last", "previous"))


def progress_of(directory: Path) -> tuple[int, int, dict[str, Any]]:
    """Epochs and steps done and ``made_with``, as the newest readable checkpoint says.

    Zeros and an empty table where there is none.
    """
    for path in (directory / "last", directory / "previous"):
        try:
            state = _state(path)
            return _count(state["epoch"]), _count(state["step"]), dict(state.get("made_with", {}))
        except UNREADABLE:
            continue
    return 0, 0, {}


def epochs_done(directory: Path) -> int:
    """Epochs done; 0 where there is no checkpoint to resume from."""
    return progress_of(directory)[0]


def weights_sha256(path: Path) -> str:
    """Of the weights in the checkpoint ``path``, as it says itself; empty if it cannot be read."""
    try:
        return str(_state(path)["sha256"][WEIGHTS])
    except UNREADABLE:
        return ""


def newest(directory: Path) -> tuple[Checkpoint, str]:
    """The checkpoint to resume from, and a sentence if it is not the one it should be.

    A damaged last one is removed: it would become the previous one when the next is written. Without a last one, the
    process that was to write it was killed.

    Raises:
        RunError: If neither ``last`` nor ``previous`` can be read.
    """
    try:
        return Checkpoint.load(directory / "last"), ""
    except RunError as error:
        if not (directory / "previous").is_dir():
            raise
        checkpoint = Checkpoint.load(directory / "previous")
        if not (directory / "last").exists():
            words = f"Training was stopped while {directory / 'last'} was saved. Resumed from step {checkpoint.step}"
            return checkpoint, f"{words}; what came later is trained again."
        shutil.rmtree(directory / "last", ignore_errors=True)
        return checkpoint, f"{error} Resumed from step {checkpoint.step}; nothing else was lost."


def best_metrics(directory: Path, last: Checkpoint, monitor: str) -> tuple[dict[str, float], str]:
    """Validation metrics of the best checkpoint, and a sentence if ``last`` had to take its place."""
    try:
        return Checkpoint.load(directory / "best", monitor).metrics, ""
    except RunError as error:
        keep_best(last, directory)
        return last.metrics, f"{error} The one after epoch {last.epoch} takes its place."


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Put ``weights`` into ``module``.

    Raises:
        RunError: If they belong to another architecture; names the first tensor that differs.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        theirs, ours = weights.get(name), own.get(name)
        if theirs is None or ours is None or theirs.shape != ours.shape:
            found = "is missing" if theirs is None else f"has shape {tuple(theirs.shape)}"
            expected = "has none such" if ours is None else f"expects {tuple(ours.shape)}"
            raise RunError(
                f"{origin} is of another architecture: '{name}' {found}, the model of config.toml"
                f" {expected}; use the configuration it was trained with."
            )
    module.load_state_dict(weights)
