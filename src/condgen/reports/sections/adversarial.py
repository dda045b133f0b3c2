"""Table 2: attacks on the classifier, and on classifier and detector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from condgen.audits.adversarial.summary import WORST, by_attack, curve
from condgen.audits.checks import FAIL, FEW, LUCK, STORAGE, WEAK, Check
from condgen.reports.audited import Audited
from condgen.reports.detectors import detector_of, rejects_bits_per_dim, threshold_columns
from condgen.reports.figures import CYCLE, GRAY, class_name, plain
from condgen.reports.images import draw_image
from condgen.reports.paper import attack_of
from condgen.reports.sections.cells import checks_of, first_warnings, notes_on
from condgen.reports.sections.section import Finding, Part, Section
from condgen.reports.tables import MISSING, Summary, Table, percent, summaries_of

AUDIT = "adversarial"
PLAIN = ("undetected %", "(all)", "median L2")
AWARE = ("detector-aware: undetected %", "(any L2)", "quantized %", "median L2 ")


def attacks_table(models: Sequence[Audited]) -> Table:
    """Table 2, a row for each attack on each model."""
    summaries = summaries_of(models, AUDIT)
    detector = threshold_columns(summaries.values())
    found = {
        (model.name, cell["attack"]): numbers
        for model in models
        for cell in summaries[model.name]["cells"]
        if (numbers := attack_of(model, cell["attack"]))
    }
    paper = ("paper: undetected %, detector-aware",) if found else ()
    rows = tuple(
        (
            model,
            unaware["attack"],
            f"{s['epsilon']:.3g}",
            *(cell(s) for cell in detector.values()),
            *_cells(unaware, aware),
            *(_paper(found.get((model, unaware["attack"]))) for _ in paper),
            str(s["n"]),
        )
        for model, s in summaries.items()
        for unaware, aware in _pairs(s)
    )
    return Table(
        "table2",
        "Table 2: attacks",
        "Share of the n test images (all correctly classified and accepted before the attack) on"
        " which an attack succeeds within L2 distance ε. Brackets: 95 % Wilson intervals; those of"
        " the other numbers are in table2.json. Left: attacks on the classifier alone, undetected;"
        " in parentheses, misclassified at any distance, detected or not. Right: detector-aware"
        " attacks, undetected within ε, at any distance, and within ε after quantization to the"
        f" data's levels. Medians are over all images; {MISSING} if fewer than half succeed. Worst"
        f" case: the best of all attacks on each image.{notes_on(summaries)}",
        ("model", "attack", "ε", *detector, *PLAIN, *AWARE, *paper, "n"),
        rows,
        tuple(
            {"model": model, "epsilon": s["epsilon"], **cell}
            for model, s in summaries.items()
            for cell in s["cells"]
        ),
    )


def _paper(numbers: tuple[int, int] | None) -> str:
    """The paper's cells for attacks on the classifier and for detector-aware attacks."""
    return f"{numbers[0]}, {numbers[1]}" if numbers else MISSING


def _pairs(summary: Summary) -> list[tuple[Summary, Summary]]:
    """For each attack, its detector-unaware cell and its detector-aware cell."""
    aware = {cell["attack"]: cell for cell in summary["cells"] if cell["detector_aware"]}
    unaware = [cell for cell in summary["cells"] if not cell["detector_aware"]]
    return [(cell, aware[cell["attack"]]) for cell in unaware]


def _cells(unaware: Summary, aware: Summary) -> tuple[str, ...]:
    return (
        percent(unaware["undetected_within"], unaware["undetected_within_ci"]),
        f"({100 * unaware['misclassified']:.0f})",
        _distance(unaware["median_l2"]),
        percent(aware["undetected_within"], aware["undetected_within_ci"]),
        f"({100 * aware['undetected']:.0f})",
        f"{100 * aware['quantized_within']:.0f}",
        _distance(aware["median_l2_undetected"]),
    )


def _distance(median: float | None) -> str:
    return MISSING if median is None else f"{median:.2f}"


def checks_table(models: Sequence[Audited]) -> Table:
    """The checks of the evaluation."""
    return checks_of(
        models,
        AUDIT,
        "Is the evaluation reliable?",
        "Each check tests for one symptom of weak attacks, which would make a model look robust.",
    )


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
        for place, (name, each) in enumerate(attacks.items()):
            look: dict[str, Any] = {"color": CYCLE[place % len(CYCLE)], "linewidth": 1}
            look = {"color": "black", "linewidth": 1.8} if name == WORST else look
            _steps(axes, each["undetected"], ends, label=plain(name), **look)
            if not aware:
                _steps(axes, each["any"], ends, linestyle=":", **look)
        axes.axvline(record.summary["epsilon"], color=GRAY, linestyle="--", linewidth=0.8)
        axes.set(xlabel="L2 distance", xscale="log", xlim=ends, ylim=(0, 103))
        _label_distances(axes, ends)
        axes.set_title(f"{plain(model.name)}\n{title}")
    panels[0].set_ylabel("undetected, % of images")
    panels[0].plot([], [], color=GRAY, linestyle=":", label="detected or not")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=7, loc="outside lower center", ncols=3)
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


def words(name: str, summary: Summary) -> str:
    """A paragraph on Table 2."""
    unaware, aware = _worst(summary)
    goal = "one wrong class drawn for each image" if summary["targeted"] else "any wrong class"
    detector = detector_of(summary)
    return (
        f"{name} classifies {summary['correct']} of {summary['drawn']} test images correctly, and"
        f" its detector ({detector.name}, threshold {detector.words}) accepts"
        f" {summary['accepted']}. The {summary['n']} images that are both were attacked (budget"
        f" {summary['budget']}; goal: {goal}). Within an L2 distance of {summary['epsilon']:.3g},"
        f" {percent(unaware['misclassified_within'], unaware['misclassified_within_ci'])} % are"
        " misclassified under the best attack on the classifier, and"
        f" {percent(unaware['undetected_within'], unaware['undetected_within_ci'])} % of all are"
        " also undetected. Detector-aware attacks evade both on"
        f" {percent(aware['undetected_within'], aware['undetected_within_ci'])} % within this"
        f" distance and on {percent(aware['undetected'], aware['undetected_ci'])} % at any"
        f" distance.{_left_out(summary)} {_checked(summary)}."
    )


def _left_out(summary: Summary) -> str:
    """The attacks that were not run; older records do not list them."""
    names = summary.get("left_out")
    return f" Not run because the model has no gradient: {', '.join(names)}." if names else ""


def _checked(summary: Summary) -> str:
    """Which checks of the evaluation failed or were not run."""
    failed, not_run = (
        [c["name"] for c in summary["checks"] if c["passed"] is passed] for passed in (False, None)
    )
    sentence = (
        f"Read these numbers with care: the evaluation fails these checks: {'; '.join(failed)}"
        if failed
        else "No check of the evaluation fails"
    )
    return sentence + (f"; not run: {'; '.join(not_run)}" if not_run else "")


def verdict(models: Sequence[Audited]) -> str:
    """On how many images detector-aware attacks succeed, for each model."""
    summaries = summaries_of(models, AUDIT)
    verdicts = [_verdict(name, summary) for name, summary in summaries.items()]
    doubts = [doubt for name, summary in summaries.items() for doubt in _doubts(name, summary)]
    qualified = f" Read this with care: {'; '.join(doubts)}." if doubts else ""
    return (
        f"Detector-aware attacks evade the detector {'; '.join(verdicts)}."
        f"{qualified}{first_warnings(models, AUDIT)}"
    )


def _doubts(name: str, summary: Summary) -> list[str]:
    """One clause for each kind of doubt, with the checks that failed."""
    failed: dict[str, list[str]] = {}
    for check in (Check(**noted) for noted in summary["checks"]):
        if check.outcome == FAIL:
            failed.setdefault(check.doubt, []).append(check.name)
    return [
        f"{_doubt(kind, name, summary)} (failed: {', '.join(names)})"
        for kind, names in failed.items()
    ]


def _doubt(kind: str, name: str, summary: Summary) -> str:
    _, aware = _worst(summary)
    quantized = percent(aware["quantized_within"], aware["quantized_within_ci"])
    return {
        WEAK: f"the attacks on {name} may be too weak: stronger attacks may succeed "
        + (
            "at smaller distances"
            if aware["undetected"] == 1
            else "on more images and at smaller distances"
        ),
        LUCK: f"successes on {name} may be due to chance",
        FEW: f"only {summary['n']} of {summary['drawn']} test images of {name} could be attacked",
        STORAGE: f"after quantization, {quantized} % of the images of {name} evade the detector"
        f" within L2 {summary['epsilon']:.3g}",
    }.get(kind, f"the evaluation of {name} fails some of its checks")


def _verdict(name: str, summary: Summary) -> str:
    """The success rate on one model, and the median distance."""
    _, aware = _worst(summary)
    successes = percent(aware["undetected"], aware["undetected_ci"])
    clause = f"of {name} on {successes} % of {summary['n']} images"
    median = aware["median_l2_undetected"]
    if median is None:
        return clause
    bounds = aware["median_l2_undetected_ci"]
    interval = ", ".join("∞" if length is None else f"{length:.2g}" for length in bounds)
    return f"{clause} (median L2 distance {median:.2g} [{interval}])"


def answer(models: Sequence[Audited]) -> Finding:
    """The share of images on which the best detector-aware attack evades the detector."""
    cells = [_worst(summary)[1] for summary in summaries_of(models, AUDIT).values()]
    shares = [100 * cell["undetected"] for cell in cells]
    low, high = f"{min(shares):.0f}", f"{max(shares):.0f}"
    span = high if low == high else f"{low} to {high}"
    evaded = [cell["undetected_ci"] for cell in cells]
    trusted = False if any(fewest > 0.5 for fewest, _ in evaded) else None
    if all(most < 0.5 for _, most in evaded):
        trusted = True
    return Finding(trusted, f"detector-aware attacks evade the detector on {span} % of the images")


def _worst(summary: Summary) -> list[Summary]:
    """The worst case, detector-unaware and detector-aware."""
    return [cell for cell in summary["cells"] if cell["attack"] == WORST]


SECTION = Section(
    AUDIT,
    (
        Part(
            "Attacks",
            table=attacks_table,
            figure=attack_curves,
            words=lambda model: words(model.name, model.record(AUDIT).summary),
        ),
        Part("Is the evaluation of attacks reliable?", table=checks_table),
        Part(
            "Perturbed images",
            figure=attack_gallery,
            words=lambda model: f"The smallest successful change by each attack: {model.name}",
        ),
    ),
    verdict,
    answer,
    order=3,
)
