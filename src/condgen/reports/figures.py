"""The paper's figures from saved records."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from condgen.audits.adversarial.summary import WORST, by_attack, curve
from condgen.reports.audited import Audited
from condgen.reports.images import draw_image, image_grid

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


def interpolation_examples(model: Audited) -> Figure:
    """Fig. 1: single interpolations, images below, bits/dim above."""
    record = model.record("interpolation")
    alpha, threshold = record.arrays["alpha"], record.summary["threshold"]
    strips = record.arrays["strips"][:EXAMPLES]
    figure = Figure(figsize=(5.2, 1.9 * len(strips) + 0.4), layout="constrained")
    panels = figure.subplots(2 * len(strips), 1, height_ratios=[2.6, 1] * len(strips), squeeze=False)[:, 0]
    for number, strip in enumerate(strips):
        axes = panels[2 * number]
        start, end = (_class_name(model, label) for label in record.arrays["label"][number])
        axes.plot(alpha, record.arrays["bits_per_dim"][number], color=BLUE)
        axes.axhline(threshold, color=RED, linestyle="--", linewidth=1, label=f"threshold {threshold:.2f}")
        axes.set(ylabel="bits/dim", xlim=(0, 1), xticks=[], title=f"from class {start} to class {end}")
        axes.yaxis.set_major_formatter("{x:.2f}")  # of one width, whatever ticks the layout settles on: the label stays whole
        axes.legend(loc="best", fontsize=7)
        draw_image(panels[2 * number + 1], np.concatenate(strip, axis=-1))
    return figure


def membership_histogram(model: Audited) -> Figure:
    """Fig. 3: bits/dim under the right class against the likeliest wrong one."""
    record = model.record("membership")
    right, wrong = record.arrays["bits_per_dim_right"], record.arrays["bits_per_dim_wrong"]
    low, high = np.quantile(np.concatenate([right, wrong]), [0.002, 0.998])
    bins = np.linspace(low, high, 40).tolist()
    figure = Figure(figsize=(4.0, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.hist(right, bins=bins, color=BLUE, alpha=0.65, label="right class")
    axes.hist(wrong, bins=bins, color=ORANGE, alpha=0.65, label="likeliest wrong class")
    auroc = record.summary["auroc"]
    axes.set(xlabel="bits/dim", ylabel="test images", title=f"{model.name}\nAUROC {auroc:.2f} (positive: wrong label)")
    axes.margins(y=0.25)  # so that the legend stands above the bars
    axes.legend(fontsize=7, loc="upper right", ncols=2)
    return figure


def interpolation_means(model: Audited) -> Figure:
    """Fig. 4: mean bits/dim and class posteriors along the line."""
    summary = model.record("interpolation").summary
    alpha, (low, high) = summary["alpha"], np.transpose(summary["bits_per_dim_ci"])
    figure = Figure(figsize=(5.6, 2.5), layout="constrained")
    likelihood, posterior = figure.subplots(1, 2)
    likelihood.plot(alpha, summary["bits_per_dim"], color=BLUE, label="mean, 95 % interval")
    likelihood.fill_between(alpha, low, high, color=BLUE, alpha=0.2, linewidth=0)
    likelihood.axhline(summary["threshold"], color=RED, linestyle="--", linewidth=1, label="detector's threshold")
    likelihood.set(xlabel="interpolation α", ylabel="bits/dim", xlim=(0, 1), title=f"{model.name}: {summary['pairs']} pairs")
    likelihood.margins(y=0.25)
    likelihood.legend(fontsize=7)
    posterior.plot(alpha, summary["posterior_0"], color=BLUE, label="class at α = 0")
    posterior.plot(alpha, summary["posterior_1"], color=ORANGE, label="class at α = 1")
    posterior.set(xlabel="interpolation α", ylabel="mean p(y | x)", xlim=(0, 1), ylim=(0, 1.02), title="class posteriors")
    posterior.legend(fontsize=7, loc="upper center")
    return figure


def attack_curves(model: Audited) -> Figure:
    """Success against distance, for attacks on the classifier and for attacks on classifier and detector."""
    record = model.record("adversarial")
    figure = Figure(figsize=(5.6, 3.0), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    cells = {knows: by_attack(record.arrays, knows) for knows in (False, True)}
    found = np.concatenate([each["any"] for attacks in cells.values() for each in attacks.values()])
    ends = [record.summary["epsilon"], *found[np.isfinite(found) & (found > 0)]]
    ends = [0.8 * min(ends), 1.25 * max(ends)]
    for axes, (knows, attacks), title in zip(panels, cells.items(), ("classifier alone", "and detector"), strict=True):
        for number, (name, each) in enumerate(attacks.items()):
            look: dict[str, Any] = {"color": CYCLE[number % len(CYCLE)], "linewidth": 1}
            look = {"color": "black", "linewidth": 1.8} if name == WORST else look
            _steps(axes, each["unnoticed"], ends, label=name, **look)
            if not knows:
                _steps(axes, each["any"], ends, linestyle=":", **look)
        axes.axvline(record.summary["epsilon"], color=GREY, linestyle="--", linewidth=0.8)
        axes.set(xlabel="L2 distance", xscale="log", xlim=ends, ylim=(0, 103), title=f"{model.name}\n{title}")
    panels[0].set_ylabel("images turned, %")
    panels[0].plot([], [], color=GREY, linestyle=":", label="noticed or not")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, loc="outside lower center", ncols=3)
    return figure


def _steps(axes: Any, found: Any, ends: list[float], **look: Any) -> None:
    distance, share = curve(found)
    last = share[-1:] if len(share) else [0]
    axes.step([ends[0], *distance, ends[1]], 100 * np.concatenate([[0], share, last]), where="post", **look)


def attack_gallery(model: Audited) -> Figure:
    """Original, perturbed, and the difference with grey as zero: the nearest success of each attack on each goal."""
    arrays = model.record("adversarial").arrays
    cells = [(arrays["attack"][row], arrays["knows_detector"][row]) for row in arrays["gallery_row"]]
    shown = [number for number, cell in enumerate(cells) if cell not in cells[:number]]
    width, height = 6.2, 0.95 * max(1, len(shown)) + 0.3
    figure = Figure(figsize=(width, height))
    if not shown:
        figure.text(0.5, 0.5, "no attack succeeded", ha="center", va="center")
        return figure
    axes = figure.add_axes((0, 0, 1, 1))  # in inches from the top left
    for place, title in enumerate(("original", "perturbed", "difference")):
        axes.text(0.95 * place + 0.5, 0.15, title, ha="center", va="center", fontsize=7.5)
    for line, number in enumerate(shown):
        top = 0.3 + 0.95 * line
        original, perturbed = arrays["gallery_original"][number], arrays["gallery_perturbed"][number]
        shift = perturbed - original
        for place, image in enumerate((original, perturbed, 0.5 + 0.5 * shift / max(abs(shift).max(), 1e-6))):
            draw_image(axes, image, cell=(0.95 * place + 0.05, top, 0.9))
        axes.text(3, top + 0.45, _gallery_words(model, arrays, arrays["gallery_row"][number]), va="center", fontsize=7.5)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _class_name(model: Audited, label: int) -> str:
    """As text of a figure, where dollar signs would begin a formula."""
    return model.class_name(label).replace("$", r"\$")


def _gallery_words(model: Audited, arrays: Any, row: int) -> str:
    knows, noticed = arrays["knows_detector"][row], arrays["flagged"][row]
    label, predicted = (_class_name(model, arrays[key][row]) for key in ("label", "predicted"))
    return (
        f"{arrays['attack'][row]}, {'knows' if knows else 'ignores'} the detector: {'noticed' if noticed else 'unnoticed'}\n"
        f"{label} taken for {predicted}, L2 {arrays['l2'][row]:.2g},"
        f" Linf {arrays['linf'][row]:.2g}\n"
        f"{arrays['bits_per_dim_before'][row]:.2f} → {arrays['bits_per_dim'][row]:.2f} bits/dim"
    )


def class_samples(model: Audited) -> Figure:
    """Fig. 5, bottom: samples, a row for each class."""
    arrays = model.record("samples").arrays
    return image_grid(arrays["images"], [model.class_name(y) for y in range(arrays["label"].max() + 1)])
