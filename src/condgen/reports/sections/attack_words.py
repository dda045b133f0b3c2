"""Sentences on attacks: a paragraph on Table 2, the verdict with its doubts, and the answer."""

from collections.abc import Sequence

from condgen.audits.adversarial.summary import WORST
from condgen.audits.checks import FAIL, FEW, LUCK, STORAGE, WEAK, Check
from condgen.reports.audited import Audited
from condgen.reports.detectors import detector_of
from condgen.reports.evidence import may_be_weak
from condgen.reports.sections.cells import first_warnings
from condgen.reports.sections.section import Finding
from condgen.reports.tables import Summary, percent, summaries_of

AUDIT = "adversarial"


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
        f" {percent(unaware['quantized_within'], unaware['quantized_within_ci'])} % of all are"
        " also undetected after quantization. Detector-aware attacks evade both, within this"
        f" distance, on {percent(aware['quantized_within'], aware['quantized_within_ci'])} % after"
        f" quantization and {percent(aware['undetected_within'], aware['undetected_within_ci'])} %"
        f" before it, and at any distance on {percent(aware['undetected'], aware['undetected_ci'])}"
        f" %.{_left_out(summary)} {_checked(summary)}."
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
    """On how many images detector-aware attacks succeed after quantization, for each model."""
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
        if check.outcome == FAIL and check.doubt != STORAGE:  # quantized successes are counted
            failed.setdefault(check.doubt, []).append(check.name)
    return [
        f"{_doubt(kind, name, summary)} (failed: {', '.join(names)})"
        for kind, names in failed.items()
    ]


def _doubt(kind: str, name: str, summary: Summary) -> str:
    _, aware = _worst(summary)
    return {
        WEAK: f"the attacks on {name} may be too weak: stronger attacks may succeed "
        + (
            "at smaller distances"
            if aware["quantized_within"] == 1
            else "on more images and at smaller distances"
        ),
        LUCK: f"successes on {name} may be due to chance",
        FEW: f"only {summary['n']} of {summary['drawn']} test images of {name} could be attacked",
    }.get(kind, f"the evaluation of {name} fails some of its checks")


def _verdict(name: str, summary: Summary) -> str:
    """The success rate on one model after and before quantization, and the median distance."""
    _, aware = _worst(summary)
    successes = percent(aware["quantized_within"], aware["quantized_within_ci"])
    clause = (
        f"of {name} on {successes} % of {summary['n']} images within an L2 distance of"
        f" {summary['epsilon']:.3g} (before quantization {100 * aware['undetected_within']:.1f} %"
    )
    median = aware.get("median_l2_quantized")  # older records do not have it
    if median is None:
        return f"{clause})"
    bounds = aware["median_l2_quantized_ci"]
    interval = ", ".join("∞" if length is None else f"{length:.2g}" for length in bounds)
    return f"{clause}; median L2 distance after it {median:.2g} [{interval}])"


def answer(models: Sequence[Audited]) -> Finding:
    """The share of images on which the best detector-aware attack evades the detector."""
    summaries = list(summaries_of(models, AUDIT).values())
    cells = [_worst(summary)[1] for summary in summaries]
    shares = [100 * cell["quantized_within"] for cell in cells]
    low, high = f"{min(shares):.0f}", f"{max(shares):.0f}"
    span = high if low == high else f"{low} to {high}"
    evaded = [cell["quantized_within_ci"] for cell in cells]
    trusted = False if any(fewest > 0.5 for fewest, _ in evaded) else None
    if all(most < 0.5 for _, most in evaded) and not any(map(may_be_weak, summaries)):
        trusted = True
    attacked = f" of the {len(cells)} attacked models" if len(cells) > 1 else ""
    words = f"detector-aware attacks evade the detector on {span} % of the images{attacked}"
    return Finding(trusted, words)


def _worst(summary: Summary) -> list[Summary]:
    """The worst case, detector-unaware and detector-aware."""
    return [cell for cell in summary["cells"] if cell["attack"] == WORST]
