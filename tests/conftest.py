"""Shared fixtures: one thread, small models, and a run of a few seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from condgen import experiments, machine
from condgen.config import load_preset
from condgen.models.glow import Glow
from condgen.models.glow.priors import ClassMixture, SplitPrior
from condgen.runs import Run

TINY = (
    "model.blocks=1",
    "model.width=8",
    "training.epochs=2",
    "training.snapshots=3",
    "audit.snapshots.test_images=100",
    "audit.snapshots.paths=4",
    "audit.snapshots.points=3",
    "audit.interpolation.pairs=6",
    "audit.interpolation.alphas=5",
    "audit.samples.count=2",
    "audit.adversarial.budget=smoke",
    "audit.adversarial.attacked=30",
    "detector.threshold.quantile=1.0",
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed PyTorch, whose default seed differs between processes: some seeds exceed tolerances."""
    torch.manual_seed(0)


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give :func:`condgen.machine.parallel_map` two threads."""
    monkeypatch.setattr(machine, "_workers", None)
    monkeypatch.setattr(machine, "_helpers", 0)
    before = torch.get_num_threads()
    machine.prepare(threads=2)
    yield
    torch.set_num_threads(before)


def shaken(module: torch.nn.Module, strength: float = 0.2, seed: int = 0) -> torch.nn.Module:
    """Perturb all parameters, so that no term is zero by accident."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += strength * torch.randn(
                parameter.shape, generator=generator, dtype=parameter.dtype
            )
    return module


def tiny_glow(
    prior: str = "class-mixture",
    event_shape: tuple[int, int, int] = (1, 4, 4),
    num_classes: int = 3,
    strength: float = 0.2,
    **settings,
) -> Glow:
    dims = 2 * event_shape[0] * event_shape[1] * event_shape[2]
    made = (
        ClassMixture(num_classes, dims)
        if prior == "class-mixture"
        else SplitPrior(num_classes, dims, hidden=8)
    )
    settings = {"levels": 2, "blocks": 2, "width": 8, "pixel_levels": 17, **settings}
    return shaken(Glow(made, event_shape=event_shape, **settings), strength).eval()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An audited run of two epochs on digits."""
    path = tmp_path_factory.mktemp("runs") / "digits-split"
    run = experiments.train(load_preset("digits-split", TINY), path, quiet=True)
    experiments.audit(run, quiet=True)
    return run


@pytest.fixture
def copied(trained: Run, tmp_path: Path) -> Run:
    """A copy of the run that a test may damage."""
    import shutil

    return Run.open(Path(shutil.copytree(trained.path, tmp_path / "run")))
