"""Figures of attacks: success against distance, and the perturbed images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from condgen.audits.adversarial.summary import WORST, by_attack, curve
from condgen.reports.audited import Audited
from condgen.reports.detectors import detector_of, rejects_bits_per_dim
from condgen.reports.figures import CYCLE, GRAY, class_name, plain
from condgen.reports.images import draw_image

AUDIT = "adversarial"
KINDS: dict[str, Any] = {"undetected": (2, 2), "quantized": (None, None)}  # dashes
TARGETED = ", targeted"  # ends the name of such an attack; drawn in the color of the other


def attack_curves(model: Audited) -> Figure:
    """Success rate against distance, for detector-unaware and for detector-aware attacks."""
    record = model.record(AUDIT)
    figure = Figure(figsize=(5.6, 3.0), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    cells = {aware: by_attack(record.arrays, aware) for aware in (False, True)}
    found = np.concatenate([each["any"] for of in cells.values() for each in of.values()])
    ends = [record.summary["epsilon"], *found[np.isfinite(found) & (found > 0)]]
    ends = [0.8 * min(ends), 1.25 * max(ends)]
    titles = ("attacks on the classifier", "detector-aware attacks")
    for axes, (aware, attacks), title in zip(panels, cells.items(), titles, strict=True):
        names = list(dict.fromkeys(name.removesuffix(TARGETED) for name in attacks))
        for name, each in attacks.items():
            place = names.index(name.removesuffix(TARGETED))
            look: dict[str, Any] = {"color": CYCLE[place % len(CYCLE)], "linewidth": 1}
            look = {"color": "black", "linewidth": 1.8} if name == WORST else look
            if name.endswith(TARGETED):
                look["dashes"] = (4, 2)
            _steps(axes, each["undetected"], ends, label=plain(name), **look)
            if not aware:
                _steps(axes, each["any"], ends, **{**look, "dashes": (1, 2)})
        axes.axvline(record.summary["epsilon"], color=GRAY, linestyle="--", linewidth=0.8)
        axes.set(xlabel="L2 distance", xscale="log", xlim=ends, ylim=(0, 103))
        _label_distances(axes, ends)
        axes.set_title(f"{plain(model.name)}\n{title}")
    panels[0].set_ylabel("undetected, % of images")
    panels[0].plot([], [], color=GRAY, linestyle=":", label="detected or not")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=7, loc="outside lower center", ncols=3)
    return figure


def evasion(models: Sequence[Audited]) -> Figure:
    """Detector-aware attacks, worst case: share of images against distance, a color per model.

    Of the first models only, as many as there are colors.
    """
    models = models[: len(CYCLE)]
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    axes = figure.subplots()
    found = {
        model.name: by_attack(model.record(AUDIT).arrays, knows=True)[WORST] for model in models
    }
    lengths = np.concatenate([each[kind] for each in found.values() for kind in KINDS])
    lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
    ends = [0.8 * lengths.min(), 1.25 * lengths.max()] if len(lengths) else [0.1, 10.0]
    for place, (model, each) in enumerate(zip(models, found.values(), strict=True)):
        color = CYCLE[place % len(CYCLE)]
        for kind, dashes in KINDS.items():
            label = plain(model.name) if kind == "quantized" else None
            _steps(axes, each[kind], ends, color=color, dashes=dashes, linewidth=1.4, label=label)
        epsilon = model.record(AUDIT).summary["epsilon"]
        inside = float((each["quantized"] <= epsilon).mean())
        axes.plot([epsilon], [100 * inside], marker="o", markersize=4.5, color=color)
    axes.set(xlabel="L2 distance", xscale="log", xlim=ends, ylim=(0, 103))
    axes.set_ylabel("undetected, % of images")
    _label_distances(axes, ends)
    axes.plot([], [], color=GRAY, dashes=KINDS["undetected"], label="before quantization")
    axes.plot([], [], color=GRAY, marker="o", markersize=4.5, linestyle="", label="ε of Table 2")
    figure.legend(*axes.get_legend_handles_labels(), fontsize=7, loc="outside right center")
    return figure


def _steps(axes: Any, found: Any, ends: list[float], **look: Any) -> None:
    distance, share = curve(found)
    last = share[-1:] if len(share) else [0]
    height = 100 * np.concatenate([[0], share, last])
    axes.step([ends[0], *distance, ends[1]], height, where="post", **look)


def _label_distances(axes: Any, ends: list[float]) -> None:
    """Labels on a logarithmic axis that do not overlap: 1, 2, 5, 10, or only the powers of 10."""
    steps = (1.0, 2.0, 5.0) if ends[1] / ends[0] < 60 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def attack_gallery(model: Audited) -> Figure:
    """Original, perturbed image and difference: each attack's success at the smallest distance."""
    arrays = model.record(AUDIT).arrays
    cells = [
        (arrays["attack"][row], arrays["detector_aware"][row]) for row in arrays["gallery_row"]
    ]
    shown = [place for place, cell in enumerate(cells) if cell not in cells[:place]]
    width, height = 6.4, 0.95 * max(1, len(shown)) + 0.3
    figure = Figure(figsize=(width, height))
    if not shown:
        figure.text(0.5, 0.5, "no attack succeeded", ha="center", va="center")
        return figure
    axes = figure.add_axes((0, 0, 1, 1))  # in inches from the top left
    for column, title in enumerate(("original", "perturbed", "difference")):
        axes.text(0.95 * column + 0.5, 0.15, title, ha="center", va="center", fontsize=7.5)
    for line, place in enumerate(shown):
        top = 0.3 + 0.95 * line
        original, perturbed = arrays["gallery_original"][place], arrays["gallery_perturbed"][place]
        shift = perturbed - original
        difference = 0.5 + 0.5 * shift / max(abs(shift).max(), 1e-6)  # gray is no change
        for column, image in enumerate((original, perturbed, difference)):
            draw_image(axes, image, cell=(0.95 * column + 0.05, top, 0.9))
        text = _gallery_words(model, arrays["gallery_row"][place])
        axes.text(3, top + 0.45, text, va="center", fontsize=7.5)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _gallery_words(model: Audited, row: int) -> str:
    record = model.record(AUDIT)
    arrays, of, unit = record.arrays, "bits_per_dim", "bits/dim"
    if "score_before" in arrays and not rejects_bits_per_dim(record):
        of, unit = "score", plain(detector_of(record.summary).axis)
    aware = "detector-aware" if arrays["detector_aware"][row] else "detector-unaware"
    detected = "detected" if arrays["flagged"][row] else "undetected"
    label, predicted = (class_name(model, arrays[key][row]) for key in ("label", "predicted"))
    return (
        f"{plain(str(arrays['attack'][row]))}, {aware}: {detected}\n"
        f"{label} classified as {predicted}, L2 {arrays['l2'][row]:.2g},"
        f" Linf {arrays['linf'][row]:.2g}\n"
        f"{arrays[f'{of}_before'][row]:.2f} → {arrays[of][row]:.2f} {unit}"
    )
