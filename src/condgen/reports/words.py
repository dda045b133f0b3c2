"""What is seen, in words computed from the numbers."""

from collections.abc import Mapping

from condgen.audits.adversarial.summary import WORST
from condgen.reports.tables import Summary, number, percent


def classification(name: str, summary: Summary) -> str:
    """A paragraph on Table 1."""
    words = (
        f"{name} classifies {percent(summary['accuracy'], summary['accuracy_ci'])} % of {summary['n']} test images correctly"
        f" at {number(summary['bits_per_dim'], summary['bits_per_dim_ci'])} bits/dim. Its detector, at"
        f" {summary['threshold']:.2f} bits/dim, accepts {percent(summary['accepted'], summary['accepted_ci'])} % of them."
    )
    if "subspace_accuracy" in summary:
        by_subspace = percent(summary["subspace_accuracy"], summary["subspace_accuracy_ci"])
        words += f" The class subspace alone classifies {by_subspace} %."
    return words


def membership(name: str, summary: Summary) -> str:
    """A paragraph on Fig. 3."""
    low, high = summary["auroc_ci"]
    if low <= 0.5 <= high:
        verdict = "which cannot be told from guessing: the likelihood does not notice a wrong label"
    elif high < 0.5:
        verdict = "worse than guessing"
    elif high < 0.75:
        verdict = "little better than guessing: the likelihood hardly notices a wrong label"
    elif high < 0.95:
        verdict = "better than guessing, but many wrong labels pass as likely images"
    else:
        verdict = "so that the likelihood does notice wrong labels here"
    gap, (least, most) = summary["gap_nats"], summary["gap_nats_ci"]
    return (
        f"A wrong label costs {name} {gap:.1f} [{least:.1f}, {most:.1f}] nats on average, while images under their right label"
        f" differ among each other by {summary['spread_nats']:.1f} nats (standard deviation). As a detector of wrong labels the"
        f" likelihood has an AUROC of {number(summary['auroc'], summary['auroc_ci'])}, {verdict}."
    )


def interpolation(name: str, summary: Summary) -> str:
    """A paragraph on Figs. 1 and 4."""
    low, high = summary["middle_minus_ends_ci"]
    if low > 0:
        seen = "less likely than real images, as one would hope"
    elif high < 0:
        seen = "more likely than real images, although no such image exists"
    else:
        seen = "as likely as real images, as far as these pairs tell"
    stay, (fewest, most) = summary["accepted_all_along"], summary["accepted_all_along_ci"]
    trust = (
        "the detector stops hardly any way from one class to another"
        if fewest > 0.9
        else "the detector stops nearly every way from one class to another"
        if most < 0.1
        else "the detector stops some ways from one class to another and lets others pass"
    )
    return (
        f"For {name} the middle between two images of different classes is {seen}:"
        f" {summary['bits_per_dim_middle']:.2f} bits/dim against {summary['bits_per_dim_ends']:.2f} at the ends, a difference"
        f" of {number(summary['middle_minus_ends'], summary['middle_minus_ends_ci'])}."
        f" Of {summary['pairs']} pairs, {percent(stay, (fewest, most))} % stay accepted all along: {trust}."
    )


def attacks(name: str, summary: Summary) -> str:
    """A paragraph on Table 2."""
    plain, aware = _worst(summary)
    goal = "one class drawn for each" if summary["targeted"] else "any wrong class"
    failed, open_ = ([c["name"] for c in summary["checks"] if c["passed"] is passed] for passed in (False, None))
    belief = f"Read with care, these checks fail: {'; '.join(failed)}" if failed else "No check of the evaluation fails"
    unexamined = f"; not examined: {'; '.join(open_)}" if open_ else ""
    return (
        f"Of {summary['drawn']} test images {name} classifies {summary['correct']} correctly and accepts {summary['accepted']};"
        f" the {summary['n']} that are both were attacked (budget {summary['budget']}), toward {goal}. The detector accepts"
        f" up to {summary['threshold']:.2f} bits/dim. Within an L2 distance of {summary['epsilon']:.3g}"
        f" the best attack on the classifier turns"
        f" {percent(plain['fooled_within'], plain['fooled_within_ci'])} %, and the detector misses"
        f" {percent(plain['unnoticed_within'], plain['unnoticed_within_ci'])} %. Attacks that know the detector turn"
        f" {percent(aware['unnoticed_within'], aware['unnoticed_within_ci'])} % unnoticed, and"
        f" {percent(aware['unnoticed'], aware['unnoticed_ci'])} % at some distance. {belief}{unexamined}."
    )


def verdict(interpolations: Mapping[str, Summary], attacked: Mapping[str, Summary]) -> str:
    """The report's first sentences: can the likelihood be trusted as an outlier detector?"""
    said = [*([_of_ways(interpolations)] if interpolations else []), *(_of_attacks(*each) for each in attacked.items())]
    return " ".join(said) or "Neither ambiguous images nor attacks were tried: whether the likelihood can be trusted is open."


def _of_ways(summaries: Mapping[str, Summary]) -> str:
    spans = {name: summary["accepted_all_along_ci"] for name, summary in summaries.items()}
    caught = [name for name, (_, most) in spans.items() if most < 0.5]
    fooled = [name for name, (fewest, _) in spans.items() if fewest > 0.5]
    between = [name for name in spans if name not in (*caught, *fooled)]
    said = {
        "most ways between two classes are stopped": caught,
        "most ways between two classes pass unnoticed": fooled,
        "whether most pass is open": between,
    }
    parts = "; ".join(f"{what} for {', '.join(names)}" for what, names in said.items() if names)
    mixed = "the likelihood is a detector of mixed worth: " if caught and fooled else ""
    return f"Judged by ambiguous images alone, {mixed}{parts}."


def _of_attacks(name: str, summary: Summary) -> str:
    _, aware = _worst(summary)
    middle = aware["median_l2_unnoticed"]
    share = percent(aware["unnoticed"], aware["unnoticed_ci"])
    turned = f"Attacks that know the detector turn {share} % of {summary['n']} images of {name} unnoticed"
    if middle is None:
        return f"{turned}."
    span = ", ".join("∞" if length is None else f"{length:.2g}" for length in aware["median_l2_unnoticed_ci"])
    return f"{turned}, half of all within an L2 distance of {middle:.2g} [{span}]."


def _worst(summary: Summary) -> list[Summary]:
    """The worst case on the classifier, and on classifier and detector."""
    return [cell for cell in summary["cells"] if cell["attack"] == WORST]
