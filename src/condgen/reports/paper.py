"""The numbers of the paper, for models of its data sets and objectives."""

from condgen.config import Config
from condgen.reports.audited import Audited
from condgen.reports.selection import Selection
from condgen.runs import Run

# Tables 1 and 3: accuracy in %, bits/dim; by data set and objective
CLASSIFICATION = {
    ("mnist", "likelihood"): (96.9, 0.95),
    ("mnist", "reweight"): (99.0, 1.10),
    ("mnist", "split"): (99.3, 1.00),
    ("cifar10", "likelihood"): (56.8, 3.47),
    ("cifar10", "reweight"): (83.2, 3.54),
    ("cifar10", "split"): (84.0, 3.53),
    ("bg-mnist-5", "reweight"): (99.0, 1.67),
    ("bg-mnist-1", "reweight"): (99.0, 3.30),
    ("bg-mnist-0", "reweight"): (98.0, 4.58),
}

# Table 2: undetected within epsilon in %, attacks on the classifier and detector-aware attacks
ATTACKS = {
    ("mnist", "reweight", "Carlini-Wagner"): (0, 17),
    ("mnist", "split", "Carlini-Wagner"): (1, 14),
    ("mnist", "reweight", "Boundary"): (43, 0),
    ("mnist", "split", "Boundary"): (36, 0),
    ("cifar10", "reweight", "Carlini-Wagner"): (0, 6),
    ("cifar10", "split", "Carlini-Wagner"): (0, 3),
    ("cifar10", "reweight", "Boundary"): (67, 100),
    ("cifar10", "split", "Boundary"): (72, 100),
}


def key_of(model: Audited) -> tuple[str, str] | None:
    """Data set and objective of a Glow that condgen trained; ``None`` for any other model."""
    source = model.source if isinstance(model, Selection) else model
    if not isinstance(source, Run) or not isinstance(source.config, Config):
        return None
    config = source.config
    return (config.data.name, config.objective.name) if config.model.name == "glow" else None


def classification_of(model: Audited) -> tuple[float, float] | None:
    """Accuracy in % and bits/dim of Table 1 or 3."""
    key = key_of(model)
    return CLASSIFICATION.get(key) if key else None


def attack_of(model: Audited, attack: str) -> tuple[int, int] | None:
    """Table 2: undetected in %, attacks on the classifier and detector-aware attacks."""
    key = key_of(model)
    return ATTACKS.get((*key, attack)) if key else None
