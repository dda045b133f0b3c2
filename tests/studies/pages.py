"""Small studies for tests."""

from pathlib import Path

TWO = """
title = "Two models"

[[runs]]
presets = ["digits-base", "digits-reweight"]
audits = ["classification", "interpolation"]
"""

SWEEP = """
title = "A sweep"

[[runs]]
presets = ["digits-reweight"]
set = [{ "objective.alpha" = 0.0 }, { objective.alpha = 10.0 }]
seeds = [0, 1]
audits = ["classification"]

[[table]]
title = "Alpha"
columns = { "accuracy %" = "classification.accuracy", "loss" = "training.loss" }

[[figure]]
title = "Accuracy against alpha"
x = "objective.alpha"
y = "classification.accuracy"

[[compare]]
what = "Table 4, accuracy %"
ours = "classification.accuracy"
paper = { "alpha=0" = 25.48, "alpha=10" = 85.78 }
claim = "the class term raises accuracy"

[[difference]]
title = "What alpha does"
columns = { "bits/dim" = "classification.bits_per_dim" }
between = [["alpha=10", "alpha=0"]]
"""


def written(folder: Path, text: str) -> Path:
    """Write a study file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.toml"
    path.write_text(text)
    return path
