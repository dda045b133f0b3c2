"""The paper's figures from saved records."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from condgen.reports.images import draw_image, image_grid
from condgen.runs import Run

BLUE, ORANGE, GREY, RED = "#0b6aa8", "#d9750b", "#6b6b6b", "#b3261e"
EXAMPLES = 2
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "condgen",
}


def interpolation_examples(run: Run) -> Figure:
    """Fig. 1: single interpolations, images below, bits/dim above."""
    record = run.record("interpolation")
    alpha, threshold = record.arrays["alpha"], record.summary["threshold"]
    strips = record.arrays["strips"][:EXAMPLES]
    figure = Figure(figsize=(5.2, 1.9 * len(strips) + 0.4), layout="constrained")
    panels = figure.subplots(2 * len(strips), 1, height_ratios=[2.6, 1] * len(strips), squeeze=False)[:, 0]
    for number, strip in enumerate(strips):
        axes = panels[2 * number]
        start, end = record.arrays["label"][number]
        axes.plot(alpha, record.arrays["bits_per_dim"][number], color=BLUE)
        axes.axhline(threshold, color=RED, linestyle="--", linewidth=1, label=f"threshold {threshold:.2f}")
        axes.set(ylabel="bits/dim", xlim=(0, 1), xticks=[], title=f"from class {start} to class {end}")
        axes.legend(loc="best", fontsize=7)
        draw_image(panels[2 * number + 1], np.concatenate(strip, axis=-1))
    return figure


def membership_histogram(run: Run) -> Figure:
    """Fig. 3: bits/dim under the right class against the likeliest wrong one."""
    record = run.record("membership")
    right, wrong = record.arrays["bits_per_dim_right"], record.arrays["bits_per_dim_wrong"]
    low, high = np.quantile(np.concatenate([right, wrong]), [0.002, 0.998])
    bins = np.linspace(low, high, 40).tolist()
    figure = Figure(figsize=(4.0, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.hist(right, bins=bins, color=BLUE, alpha=0.65, label="right class")
    axes.hist(wrong, bins=bins, color=ORANGE, alpha=0.65, label="likeliest wrong class")
    auroc = record.summary["auroc"]
    axes.set(xlabel="bits/dim", ylabel="test images", title=f"{run.name}\nAUROC {auroc:.2f} (positive: wrong label)")
    axes.legend(fontsize=7)
    return figure


def interpolation_means(run: Run) -> Figure:
    """Fig. 4: mean bits/dim and class posteriors along the line."""
    summary = run.record("interpolation").summary
    alpha, (low, high) = summary["alpha"], np.transpose(summary["bits_per_dim_ci"])
    figure = Figure(figsize=(5.6, 2.5), layout="constrained")
    likelihood, posterior = figure.subplots(1, 2)
    likelihood.plot(alpha, summary["bits_per_dim"], color=BLUE, label="mean, 95 % interval")
    likelihood.fill_between(alpha, low, high, color=BLUE, alpha=0.2, linewidth=0)
    likelihood.axhline(summary["threshold"], color=RED, linestyle="--", linewidth=1, label="detector's threshold")
    likelihood.set(xlabel="interpolation α", ylabel="bits/dim", xlim=(0, 1), title=f"{run.name}: {summary['pairs']} pairs")
    likelihood.margins(y=0.25)
    likelihood.legend(fontsize=7)
    posterior.plot(alpha, summary["posterior_0"], color=BLUE, label="class at α = 0")
    posterior.plot(alpha, summary["posterior_1"], color=ORANGE, label="class at α = 1")
    posterior.set(xlabel="interpolation α", ylabel="mean p(y | x)", xlim=(0, 1), ylim=(0, 1.02), title="class posteriors")
    posterior.legend(fontsize=7, loc="upper center")
    return figure


def class_samples(run: Run) -> Figure:
    """Fig. 5, bottom: samples, a row for each class."""
    arrays = run.record("samples").arrays
    return image_grid(arrays["images"], [str(y) for y in range(arrays["label"].max() + 1)])
