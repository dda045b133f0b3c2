"""Checkpoints: weights and optimiser in safetensors, the rest in TOML, each directory whole or not there."""

import hashlib
import shutil
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from condgen.errors import RunError
from condgen.files import written_whole

WEIGHTS, OPTIMISER, STATE = "weights.safetensors", "optimiser.safetensors", "state.toml"


@dataclass(frozen=True)
class Checkpoint:
    """What a directory of ``checkpoint/`` holds: ``last`` and ``previous`` to go on from, ``best`` to use."""

    weights: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    epoch: int  # finished epochs
    step: int
    metrics: dict[str, float]
    weights_sha256: str = ""  # of the file that they were read from

    def save(self, path: Path) -> None:
        """Write to the directory ``path``, replacing what was there only once all is written."""
        with written_whole(path, replace_directory=True) as work:
            work.mkdir()
            contents = {WEIGHTS: save(_plain(self.weights)), OPTIMISER: save(_plain(self.optimiser))}
            for name, content in contents.items():
                (work / name).write_bytes(content)
            state = {
                "epoch": self.epoch,
                "step": self.step,
                "metrics": self.metrics,
                "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
            }
            (work / STATE).write_text(tomli_w.dumps(state))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read the directory ``path``.

        Raises:
            RunError: If it is missing, or a file in it is truncated or altered.
        """
        if not path.is_dir():
            raise RunError(f"{path} does not exist; train the run first, or again in another --run if it was lost.")
        try:
            state = tomllib.loads((path / STATE).read_text())
            contents = {name: (path / name).read_bytes() for name in (WEIGHTS, OPTIMISER)}
            for name, content in contents.items():
                if hashlib.sha256(content).hexdigest() != state["sha256"][name]:
                    raise RunError(f"{path} is damaged ({name}: sha256 differs); train the run again or restore the file.")
            weights, optimiser = (load(content) for content in contents.values())
            epoch, step = (_whole_number(state[name]) for name in ("epoch", "step"))
            metrics = {name: float(value) for name, value in state["metrics"].items()}
            metrics["loss"]  # what best is chosen by
            return cls(weights, optimiser, epoch, step, metrics, state["sha256"][WEIGHTS])
        except RunError:
            raise
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise RunError(f"{path} is damaged ({error}); train the run again or restore the file.") from error


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors wants them: in main memory, in the order of their shape."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def keep(checkpoint: Checkpoint, directory: Path, *, best: bool) -> None:
    """Make ``checkpoint`` the best, if it is, then the last one, and the one before it the previous.

    In this order a kill between two of the steps leaves a state from which the same epoch is trained again.
    """
    if best:
        keep_best(checkpoint, directory)
    last, previous = directory / "last", directory / "previous"
    if last.is_dir():
        shutil.rmtree(previous, ignore_errors=True)
        last.rename(previous)
    checkpoint.save(last)


def keep_best(checkpoint: Checkpoint, directory: Path) -> None:
    """Make ``checkpoint`` the best one; nothing goes on from there, so that the optimiser is left out."""
    replace(checkpoint, optimiser={}).save(directory / "best")


def begun(directory: Path) -> bool:
    """Whether there is a checkpoint to go on from, damaged or not; a kill before the first leaves ``best`` at most."""
    return any((directory / name).is_dir() for name in ("last", "previous"))


def epochs_done(directory: Path) -> int:
    """Finished epochs, as the newest checkpoint says that can be read; 0 where there is none to go on from."""
    for path in (directory / "last", directory / "previous"):
        try:
            return _whole_number(tomllib.loads((path / STATE).read_text())["epoch"])
        except (OSError, KeyError, ValueError):
            continue
    return 0


def weights_sha256(path: Path) -> str:
    """Of the weights in the checkpoint ``path``, as it says itself; empty where there is none that can be read."""
    try:
        return str(tomllib.loads((path / STATE).read_text())["sha256"][WEIGHTS])
    except (OSError, KeyError, TypeError, ValueError):
        return ""


def _whole_number(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is no count")
    return value


def newest(directory: Path) -> tuple[Checkpoint, str]:
    """The checkpoint to go on from, and a sentence if it is not the one it should be.

    A last one that is damaged goes then, so that it does not take the place of the previous one before the next is written.

    Raises:
        RunError: If neither ``last`` nor ``previous`` can be read.
    """
    try:
        return Checkpoint.load(directory / "last"), ""
    except RunError as error:
        if not (directory / "previous").is_dir():
            raise
        checkpoint = Checkpoint.load(directory / "previous")
        shutil.rmtree(directory / "last", ignore_errors=True)
        return checkpoint, f"{error} Went back to step {checkpoint.step}; nothing else was lost."


def best_metrics(directory: Path, last: Checkpoint) -> tuple[dict[str, float], str]:
    """Validation metrics of the best checkpoint, and a sentence if it cannot be read; ``last`` takes its place then."""
    try:
        return Checkpoint.load(directory / "best").metrics, ""
    except RunError as error:
        keep_best(last, directory)
        return last.metrics, f"{error} The one after epoch {last.epoch} takes its place."


def load_weights(module: nn.Module, weights: dict[str, Tensor], origin: Path) -> None:
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
                f"{origin} is of another architecture: '{name}' {found}, the model of config.toml {expected};"
                " use the configuration it was trained with."
            )
    module.load_state_dict(weights)
