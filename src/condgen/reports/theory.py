"""The counterexample of Section 2 as rows and sentences; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from condgen.reports.console import print_rows
from condgen.theory import Condition, Counterexample, conditions
from condgen.theory.construction import log_lambda_1_range

if TYPE_CHECKING:
    from condgen.audits.counterexample import Confirmation
    from condgen.audits.counterexample_attacks import Found

CONDITION_COLUMNS = ("", "condition", "measured by", "value", "bound", "")


FOUND_COLUMNS = (
    "attack",
    "conditions 1 to 5 met %",
    "of the attackable %",
    "median distance there",
    "passes per image",
)
CONFIRMATION_COLUMNS = ("from samples", "closed form", "estimate", "95 % interval", "n", "")


def print_counterexample(
    example: Counterexample, confirmed: Sequence[Confirmation] = (), found: Sequence[Found] = ()
) -> None:
    """Print numbers, conditions and notes, Monte Carlo estimates, and results of attacks."""
    print_rows(
        f"epsilon {example.epsilon:g}, delta {example.delta:g}, radius {example.radius:g}",
        number_rows(example),
    )
    print_rows("Proposition 1", condition_rows(example), CONDITION_COLUMNS)
    print_rows("Notes", [tuple(note.split(" ", 1)) for note in notes(example)])
    if confirmed:
        title = "Monte Carlo estimates; one interval in twenty misses by chance"
        print_rows(title, [_confirmation_row(line) for line in confirmed], CONFIRMATION_COLUMNS)
    if found:
        title = (
            f"Attacks on {found[0].n} samples of p, of which {100 * example.attackable:.1f} % can"
            " be attacked on average"
        )
        print_rows(title, [_found_row(line) for line in found], FOUND_COLUMNS)


def number_rows(example: Counterexample) -> list[tuple[str, str]]:
    """Every closed form with its name."""
    ball = "in the unit ball"
    low, high = log_lambda_1_range(example.epsilon, example.delta, example.log_growth)
    return [
        ("dimension d", str(example.dimension)),
        ("range of lambda_1, eq. (19)", f"{_number(low)} to {_number(high)}"),
        ("lambda_1, lambda_2", f"{_number(example.log_lambda_1)}, {_number(example.log_lambda_2)}"),
        (
            "KL(q || p): exact; the paper's bound, without the factor 1/2",
            _pair(example.kl_q_p, example.kl_q_p_bound),
        ),
        (
            "KL(p || q): exact; the paper's bound, without the factor 1/2",
            _pair(example.kl_p_q, example.kl_p_q_bound),
        ),
        (f"Bayes-optimal p(0|x) {ball}, eq. (11)", f"{example.confidence_p:.6g}"),
        (f"the model's q(1|x) {ball}, eq. (12)", f"{example.confidence_q:.6g}"),
        (
            "samples of p that can be attacked (required: more than 1/3)",
            f"{example.attackable:.6g}",
        ),
        ("mean length of the attack", f"{example.mean_distance:.6g}"),
        ("samples of q with at least the median density", f"{example.share_at_least_median:.6g}"),
        (
            "samples of q as dense as an attacked image (none is denser)",
            f"{example.share_as_dense_as_attack:.3g}",
        ),
    ]


def condition_rows(example: Counterexample) -> list[tuple[str, ...]]:
    """One row for each of Proposition 1's conditions, under :data:`CONDITION_COLUMNS`."""
    return [
        (
            str(line.number),
            line.words,
            line.unit,
            f"{line.value:.4g}",
            f"{line.relation} {line.bound:.4g}",
            _verdict(line),
        )
        for line in conditions(example)
    ]


def notes(example: Counterexample) -> list[str]:
    """The notes on the conditions."""
    return [
        f"{line.number}. {line.note[0].upper()}{line.note[1:]}." for line in conditions(example)
    ]


def words(example: Counterexample) -> str:
    """The counterexample in a paragraph."""
    unmet = [str(line.number) for line in conditions(example) if not line.holds]
    numbers = ", ".join(unmet)
    exception = (
        f" Condition {numbers} does not hold as stated in the paper; see note {numbers}."
        if unmet
        else ""
    )
    return (
        f"In {example.dimension} dimensions there is a model q that differs from the data p by"
        f" only {example.kl_p_q:.3g} and {example.kl_q_p:.3g} nats (KL divergences). Still,"
        f" {100 * example.attackable:.1f} % of the samples of p can be moved by less than"
        f" {example.radius:g} so that q misclassifies them with a confidence of"
        f" {100 * example.confidence_q:.1f} % and gives the image more than its median density."
        f" No threshold on the likelihood detects it.{exception}"
    )


def _confirmation_row(line: Confirmation) -> tuple[str, ...]:
    cells = (
        (f"{line.estimate:.4g}", f"{line.interval[0]:.4g} to {line.interval[1]:.4g}")
        if line.n
        else ("–", "–")
    )
    verdict = ("inside" if line.confirmed else "outside") if line.n else "no samples"
    return line.name, f"{line.exact:.4g}", *cells, str(line.n), verdict


def _found_row(line: Found) -> tuple[str, ...]:
    within = f"{100 * line.share:.1f} [{100 * line.interval[0]:.1f}, {100 * line.interval[1]:.1f}]"
    return (
        line.attack,
        within,
        f"{100 * line.share_of_attackable:.1f}",
        f"{line.distance:.3f}",
        f"{line.questions:.0f}",
    )


def _verdict(line: Condition) -> str:
    return "holds" if line.holds else "does not hold"


def _pair(exact: float, bound: float) -> str:
    return f"{exact:.4g}; {bound:.4g} nats"


def _number(log_value: float) -> str:
    """Format a positive number, given its logarithm; it may be too small for a float."""
    return (
        f"{math.exp(log_value):.6g}" if log_value > -700 else f"10^{log_value / math.log(10):.2f}"
    )
