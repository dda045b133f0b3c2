"""Checkpoints: tensors in safetensors, the rest in TOML; each directory is written atomically."""

import hashlib
import re
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
FORMAT = 2  # of checkpoints; those of format 1 name none, and their state may have no checksum
SNAPSHOTS = "snapshots"  # a folder of checkpoints with weights only, named by step
OLDER_OPTIMIZER = "optimiser.safetensors"  # Adam's moments only, without a prefix
OLDER_TENSOR, TENSOR = r"\binitialised$", "initialized"  # of actnorm
# errors that reading damaged bytes can raise
UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError)
MODULE_PREFIX, STATE_PREFIX = "module.", "state."  # name prefixes of tensors besides the weights


class NewerFormat(RunError):
    """A checkpoint that a newer version of condgen wrote."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of one directory in ``checkpoint/``.

    Training resumes from ``last``, or from ``previous`` if ``last`` is damaged. Audits and samples
    use ``best``.

    Attributes:
        weights: Weights of the density, as audits and samples use them.
        training: Other tensors needed to resume, by name: modules and optimizers.
        epoch: Epochs done and validated; the last one may be short.
        step: Optimizer steps taken.
        metrics: Metrics on the validation images.
        made_with: Seed, data, objective and settings of the training; empty in older checkpoints.
        progress: Sums over the steps of the last epoch, from which its log line continues.
        weights_sha256: SHA-256 of the file that the weights were read from.
    """

    weights: dict[str, Tensor]
    training: dict[str, Tensor]
    epoch: int
    step: int
    metrics: dict[str, float]
    made_with: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""

    def save(self, path: Path) -> None:
        """Write to the directory ``path``; an existing one is replaced atomically."""
        contents = {WEIGHTS: save(plain(self.weights)), OPTIMIZER: save(plain(self.training))}
        sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        state = {
            "format": FORMAT,
            "epoch": self.epoch,
            "step": self.step,
            "metrics": self.metrics,
            "made_with": {key: value for key, value in self.made_with.items() if value is not None},
            "progress": self.progress,
            "sha256": sha256,
        }
        sha256[STATE] = digest_of(state)
        size = sum(map(len, contents.values()))
        with atomic_write(path, replace_directory=True, size=size) as work:
            work.mkdir()
            for name, content in contents.items():
                (work / name).write_bytes(content)
            (work / STATE).write_text(tomli_w.dumps(state))

    @classmethod
    def load(cls, path: Path, monitor: str = "") -> "Checkpoint":
        """Read the directory ``path``.

        Args:
            path: Directory of the checkpoint.
            monitor: A metric that the checkpoint must have.

        Raises:
            RunError: If the checkpoint is missing, or a file in it is truncated or altered.
            NewerFormat: If a newer version of condgen wrote it.
        """
        if not path.is_dir():
            tidy(path.parent)  # a kill during saving may have moved it
        if not path.is_dir():
            raise RunError(
                f"{path} does not exist; train the run first, or train it again in another --run if"
                " the checkpoint was lost."
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
            _renamed(load(_checked(path, name, state["sha256"][name])))
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
            _count(state["epoch"], 0),
            _count(state["step"]),
            metrics,
            dict(state.get("made_with", {})),
            dict(state.get("progress", {})),
            str(state["sha256"][WEIGHTS]),
        )


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under today's names."""
    return {re.sub(OLDER_TENSOR, TENSOR, name): tensor for name, tensor in tensors.items()}


def _state(path: Path) -> dict[str, Any]:
    """Read the state file of the checkpoint ``path``.

    Raises:
        ValueError: If the file was altered. Damaged bytes raise any of :data:`UNREADABLE`.
    """
    state = tomllib.loads((path / STATE).read_text())
    if unknown := set(state["sha256"]) - {WEIGHTS, OPTIMIZER, OLDER_OPTIMIZER, STATE}:
        raise ValueError(f"{STATE}: {min(unknown)} is not a file of a checkpoint")
    expected = state["sha256"].pop(STATE, None)
    if expected != digest_of(state) and (expected is not None or "format" in state):
        raise ValueError(f"{STATE}: sha256 differs")
    if state.get("format", 1) > FORMAT:
        raise NewerFormat(
            f"{path} has format {state['format']}, and this version of condgen reads formats 1 to"
            f" {FORMAT}; install a newer version."
        )
    return state


def _checked(path: Path, name: str, sha256: str) -> bytes:
    content = (path / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(
            f"{path} is damaged ({name}: sha256 differs); train the run again or restore the file."
        )
    return content


def _count(value: object, least: int = 1) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{value!r} is no whole number of at least {least}")
    return value


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in the form safetensors needs: on the CPU, contiguous, without shared memory."""
    return {
        name: torch.empty_like(
            tensor, device="cpu", memory_format=torch.contiguous_format, requires_grad=False
        ).copy_(tensor.detach())
        for name, tensor in tensors.items()
    }


def keep(checkpoint: Checkpoint, directory: Path, *, best: bool) -> None:
    """Save ``checkpoint`` as ``best`` if it is the best, then as ``last``.

    The old ``last`` becomes ``previous``. In this order, a kill in between leaves a state from
    which the same epoch is trained again.
    """
    if best:
        keep_best(checkpoint, directory)
    last, previous = directory / "last", directory / "previous"
    if last.is_dir():
        shutil.rmtree(previous, ignore_errors=True)
        last.rename(previous)
    checkpoint.save(last)


def keep_best(checkpoint: Checkpoint, directory: Path) -> None:
    """Save ``checkpoint`` as ``best``; nothing resumes from it, so only the weights are kept."""
    replace(checkpoint, training={}).save(directory / "best")


def begun(directory: Path) -> bool:
    """Whether there is a checkpoint to resume from, damaged or not.

    A kill before the first checkpoint leaves at most ``best``.
    """
    return any((directory / name).is_dir() for name in ("last", "previous"))


def progress_of(directory: Path) -> tuple[int, int, dict[str, Any]]:
    """Epochs done, steps done and ``made_with`` of the newest readable checkpoint.

    Zeros and an empty table if there is none.
    """
    for path in (directory / "last", directory / "previous"):
        try:
            state = _state(path)
            return (
                _count(state["epoch"], 0),
                _count(state["step"]),
                dict(state.get("made_with", {})),
            )
        except UNREADABLE:
            continue
    return 0, 0, {}


def epochs_done(directory: Path) -> int:
    """Epochs done; 0 if there is no checkpoint to resume from."""
    return progress_of(directory)[0]


def load_state(path: Path) -> dict[str, Any]:
    """The state file of the checkpoint ``path``, without its tensors; empty if there is none.

    Raises:
        RunError: If it is damaged.
    """
    if not path.is_dir():
        return {}
    try:
        state = _state(path)
        return {**state, "epoch": _count(state["epoch"], 0), "step": _count(state["step"])}
    except UNREADABLE as error:
        raise RunError(f"{path} is damaged ({error}); restore it or continue with --resume.") from (
            error
        )


def weights_sha256(path: Path) -> str:
    """SHA-256 of the weights, read from the state file of ``path``; empty if unreadable."""
    try:
        return str(_state(path)["sha256"][WEIGHTS])
    except UNREADABLE:
        return ""


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Load ``weights`` into ``module``.

    Raises:
        RunError: If they belong to another architecture; names the first tensor that differs.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        theirs, ours = weights.get(name), own.get(name)
        if theirs is None or ours is None or theirs.shape != ours.shape:
            found = "is missing" if theirs is None else f"has shape {tuple(theirs.shape)}"
            expected = "has no such tensor" if ours is None else f"expects {tuple(ours.shape)}"
            raise RunError(
                f"{origin} has another architecture: '{name}' {found}, the model of config.toml"
                f" {expected}; use the configuration it was trained with."
            )
    module.load_state_dict(weights)
