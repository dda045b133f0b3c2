"""The paper's figures from saved records."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from condgen.audits.adversarial.summary import WORST, by_attack, curve
from condgen.reports.images import draw_image, image_grid
from condgen.runs import Run

BLUE, ORANGE, GREY, RED = "#0b6aa8", "#d9750b", "#6b6b6b", "#b3261e"
CYCLE = (BLUE, ORANGE, "#2a7f4f", "#8a4fa3", RED)
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


def attack_curves(run: Run) -> Figure:
    """Success against distance, for attacks on the classifier and for attacks on classifier and detector."""
    record = run.record("adversarial")
    figure = Figure(figsize=(5.6, 2.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, knows, title in zip(panels, (False, True), ("classifier alone", "classifier and detector"), strict=True):
        for number, (name, rows) in enumerate(by_attack(record.arrays, knows).items()):
            worst = name == WORST
            for undetected, style in ((True, "-"), (False, ":")):
                if undetected or not knows:
                    distance, share = curve(rows, undetected)
                    shown = np.concatenate([[0], distance]), 100 * np.concatenate([[0], share])
                    color = "black" if worst else CYCLE[number]
                    label = name if undetected else None
                    axes.step(*shown, where="post", color=color, linestyle=style, linewidth=1.8 if worst else 1, label=label)
        axes.axvline(record.summary["epsilon"], color=GREY, linestyle="--", linewidth=0.8)
        axes.set(xlabel="L2 distance", ylim=(0, 103), title=f"{run.name}\n{title}")
        axes.set_xlim(left=0)
    panels[0].set_ylabel("images turned, %")
    panels[0].plot([], [], color=GREY, label="unnoticed")
    panels[0].plot([], [], color=GREY, linestyle=":", label="noticed or not")
    panels[0].legend(fontsize=6, loc="lower right")
    return figure


def attack_gallery(run: Run) -> Figure:
    """Original, perturbed, and the difference with grey as zero: one success of each attack on each goal."""
    record = run.record("adversarial")
    arrays = record.arrays
    rows = _one_of_each_cell(arrays)
    figure = Figure(figsize=(6.2, 0.95 * len(rows) + 0.3), layout="constrained")
    panels = figure.subplots(len(rows), 4, squeeze=False, width_ratios=[1, 1, 1, 4.2])
    for line, number in zip(panels, rows, strict=True):
        original, perturbed = arrays["gallery_original"][number], arrays["gallery_perturbed"][number]
        row = arrays["gallery_row"][number]
        shift = perturbed - original
        for axes, image in zip(line, (original, perturbed, 0.5 + 0.5 * shift / max(abs(shift).max(), 1e-6)), strict=False):
            draw_image(axes, image)
        line[3].set_axis_off()
        line[3].text(0, 0.5, _gallery_words(arrays, row), va="center", fontsize=7.5)
    for axes, title in zip(panels[0], ("original", "perturbed", "difference"), strict=False):
        axes.set_title(title, fontsize=7.5)
    return figure


def _one_of_each_cell(arrays: Any) -> list[int]:
    cells = arrays["cell"][arrays["gallery_row"]]
    return [int(np.flatnonzero(cells == cell)[0]) for cell in dict.fromkeys(cells.tolist())]


def _gallery_words(arrays: Any, row: int) -> str:
    attack, _, knows = str(arrays["cell"][row]).rpartition("|")
    noticed = "noticed" if arrays["flagged"][row] else "unnoticed"
    return (
        f"{attack}, {'knows' if knows == '1' else 'ignores'} the detector: {noticed}\n"
        f"{arrays['label'][row]} taken for {arrays['predicted'][row]}, L2 {arrays['l2'][row]:.2f},"
        f" Linf {arrays['linf'][row]:.2f}\n"
        f"{arrays['bits_per_dim_before'][row]:.2f} → {arrays['bits_per_dim'][row]:.2f} bits/dim"
    )


def class_samples(run: Run) -> Figure:
    """Fig. 5, bottom: samples, a row for each class."""
    arrays = run.record("samples").arrays
    return image_grid(arrays["images"], [str(y) for y in range(arrays["label"].max() + 1)])
