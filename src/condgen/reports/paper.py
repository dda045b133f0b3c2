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

# Table 4, PixelCNN++ on CIFAR-10: accuracy in %, bits/dim; by alpha. 1000 has two readings: against
# the likelihood per dimension, or against that of the image.
PIXELCNN = {0.0: (25.48, 3.05), 1000.0: (85.78, 3.34), 1000 / 3072: (85.78, 3.34)}

# Sec. 4.4: paths between classes that are accepted at every step, in %
PATHS = {"mnist": 0.5, "cifar10": 100.0}

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


def config_of(model: Audited) -> Config | None:
    """The configuration of a model that condgen trained."""
    source = model.source if isinstance(model, Selection) else model
    config = source.config if isinstance(source, Run) else None
    return config if isinstance(config, Config) else None


def key_of(model: Audited) -> tuple[str, str] | None:
    """Data set and objective of a Glow that condgen trained; ``None`` for any other model."""
    config = config_of(model)
    if config is None or config.model.name != "glow":
        return None
    return config.data.name, config.objective.name


def classification_of(model: Audited) -> tuple[float, float] | None:
    """Accuracy in % and bits/dim of Table 1, 3 or 4."""
    key, config = key_of(model), config_of(model)
    if key:
        return CLASSIFICATION.get(key)
    if config is None or (config.model.name, config.data.name) != ("pixelcnn", "cifar10"):
        return None
    alpha = getattr(config.objective, "alpha", 0.0)
    return next((of for near, of in PIXELCNN.items() if abs(alpha - near) < 1e-3), None)


def paths_of(model: Audited) -> float | None:
    """Sec. 4.4: paths accepted at every step in %, of a Glow with a class term."""
    key = key_of(model)
    return PATHS.get(key[0]) if key and key[1] != "likelihood" else None


def attack_of(model: Audited, attack: str) -> tuple[int, int] | None:
    """Table 2: undetected in %, attacks on the classifier and detector-aware attacks."""
    key = key_of(model)
    return ATTACKS.get((*key, attack.removesuffix(", targeted"))) if key else None
