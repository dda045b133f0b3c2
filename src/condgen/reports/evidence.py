"""Tests of a claim on the records of models: an interval against a bound."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from condgen.audits.adversarial.summary import WORST
from condgen.audits.checks import WEAK
from condgen.reports.audited import Audited
from condgen.reports.paper import config_of
from condgen.reports.tables import Summary
from condgen.reports.under_trained import beats_simple_densities

Relation = Literal["<", ">"]
Interval = tuple[float, float]
Estimate = tuple[float, Interval]


@dataclass(frozen=True)
class Who:
    """The models that a claim is about.

    Args:
        data: Name of the data set.
        objective: "likelihood", "reweight" or "split". Without its class term (alpha = 0) an
            objective is "likelihood".
        family: Name of the model's family.
    """

    data: str
    objective: str = "reweight"
    family: str = "glow"

    def among(self, models: Sequence[Audited]) -> list[Audited]:
        return [model for model in models if self._fits(model)]

    def _fits(self, model: Audited) -> bool:
        config = config_of(model)
        if config is None:
            return False
        class_term = getattr(config.objective, "alpha", 0.0) > 0
        objective = config.objective.name if class_term else "likelihood"
        return (config.data.name, objective, config.model.name) == (
            self.data,
            self.objective,
            self.family,
        )


@dataclass(frozen=True)
class Number:
    """A number of a record.

    Args:
        audit: Name of the audit.
        words: The number in words, for tables.
        read: Reads value and interval from the record's summary; ``None`` if it has none.
        percent: Whether it is a share.
    """

    audit: str
    words: str
    read: Callable[[Summary], Estimate | None]
    percent: bool = False

    def of(self, model: Audited) -> Estimate | None:
        return self.read(model.record(self.audit).summary) if model.has(self.audit) else None

    def written(self, found: Estimate, sign: str = "") -> str:
        """The number with its interval, shares in percent."""
        factor, digits, unit = (100, 1, " %") if self.percent else (1, 3, "")
        value, low, high = (factor * each for each in (found[0], *found[1]))
        return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]{unit}"


@dataclass(frozen=True)
class Evidence:
    """A number of one model, or of a pair of models, beside the bound of a test.

    Args:
        models: Names of the models.
        found: The number with its interval, as text.
        holds: Whether the whole interval is on the claim's side of the bound, or on the other;
            ``None`` if the bound is inside.
        value, interval: The number and its 95 % interval.
        counts: Whether all of its models are known to beat the simple densities.
    """

    models: tuple[str, ...]
    found: str
    holds: bool | None
    value: float
    interval: Interval
    counts: bool = True


class Criterion(Protocol):
    """The interface of a test."""

    @property
    def words(self) -> str:
        """The test in words."""
        ...

    def evidence(self, models: Sequence[Audited]) -> Iterator[Evidence]:
        """The numbers of the models that were audited for it."""
        ...


@dataclass(frozen=True)
class Bounded:
    """A number of each model is below or above a bound."""

    number: Number
    who: tuple[Who, ...]
    relation: Relation
    bound: float

    @property
    def words(self) -> str:
        return f"{self.number.words} {self.relation} {_bound(self.number, self.bound)}"

    def evidence(self, models: Sequence[Audited]) -> Iterator[Evidence]:
        for model in (model for who in self.who for model in who.among(models)):
            found = self.number.of(model)
            if found is not None:
                yield Evidence(
                    (model.name,),
                    f"{model.name}: {self.number.written(found)}",
                    holds(found[1], self.relation, self.bound),
                    *found,
                    beats_simple_densities(model),
                )


@dataclass(frozen=True)
class Difference:
    """The difference of two numbers is below or above a bound.

    The numbers are those of pairs of models with equal seeds, first minus second, or two numbers of
    one model.
    """

    first: tuple[Number, Who]
    second: tuple[Number, Who]
    relation: Relation
    bound: float = 0.0

    @property
    def words(self) -> str:
        (number, who), (other, whose) = self.first, self.second
        if who == whose:
            return (
                f"{number.words} minus {other.words} {self.relation} {_bound(number, self.bound)}"
            )
        return f"{number.words}: {_minus(who, whose)} {self.relation} {_bound(number, self.bound)}"

    def evidence(self, models: Sequence[Audited]) -> Iterator[Evidence]:
        (number, who), (other, whose) = self.first, self.second
        for first in who.among(models):
            for second in whose.among(models):
                one, two = number.of(first), other.of(second)
                if _seed(first) != _seed(second) or one is None or two is None:
                    continue
                found = difference(one, two)
                names = tuple(dict.fromkeys((first.name, second.name)))
                yield Evidence(
                    names,
                    f"{' minus '.join(names)}: {number.written(found, '+')}",
                    holds(found[1], self.relation, self.bound),
                    *found,
                    beats_simple_densities(first) and beats_simple_densities(second),
                )


def _seed(model: Audited) -> int | None:
    config = config_of(model)
    return None if config is None else config.seed


def _bound(number: Number, bound: float) -> str:
    return f"{100 * bound:g} %" if number.percent else f"{bound:g}"


def _minus(first: Who, second: Who) -> str:
    """The words in which two kinds of models differ."""
    if first.data != second.data:
        return f"{first.data} minus {second.data}"
    return f"{first.objective} minus {second.objective}"


def holds(interval: Interval, relation: Relation, bound: float) -> bool | None:
    """Whether an interval is entirely below (or above) a bound; ``None`` if the bound is inside.

    >>> holds((1.0, 2.0), "<", 3.0), holds((1.0, 2.0), "<", 0.5), holds((1.0, 2.0), ">", 1.5)
    (True, False, None)
    """
    low, high = interval
    if relation == "<":
        return True if high < bound else False if low > bound else None
    return True if low > bound else False if high < bound else None


def difference(first: Estimate, second: Estimate) -> Estimate:
    """First minus second, with an interval from the two intervals (MOVER).

    It is too wide if both numbers are of the same images.

    References:
        Zou & Donner, Construction of confidence limits about effect measures, 2008.

    Examples:
        >>> difference((0.5, (0.25, 0.75)), (0.25, (0.25, 0.25)))
        (0.25, (0.0, 0.5))
    """
    (one, (low, high)), (two, (low_two, high_two)) = first, second
    value = one - two
    below, above = math.hypot(one - low, high_two - two), math.hypot(high - one, two - low_two)
    return value, (value - below, value + above)


def plain(audit: str, key: str, words: str, percent: bool = False) -> Number:
    """A number that a record has under ``key``, with its interval under ``key_ci``."""

    def read(summary: Summary) -> Estimate | None:
        value, interval = summary.get(key), summary.get(f"{key}_ci")
        if value is None or interval is None:
            return None
        return float(value), (float(interval[0]), float(interval[1]))

    return Number(audit, words, read, percent)


def attack_success(attack: str, aware: bool) -> Number:
    """The share of images on which an attack evades the detector after quantization.

    It is a lower bound if a check for weak attacks failed: the interval then ends at 1.
    """
    kind = "detector-aware" if aware else "on the classifier alone"
    name = "all attacks" if attack == WORST else attack

    def read(summary: Summary) -> Estimate | None:
        for cell in summary["cells"]:
            if (cell["attack"], cell["detector_aware"]) == (attack, aware):
                low, high = cell["quantized_within_ci"]
                return cell["quantized_within"], (low, 1.0 if may_be_weak(summary) else high)
        return None

    return Number("adversarial", f"{name}, {kind}: undetected within ε, quantized", read, True)


def may_be_weak(summary: Summary) -> bool:
    """Whether a check for weak attacks failed.

    In older records, where checks have no ``doubt``, any failed check counts.
    """
    return any(
        check["passed"] is False and check.get("doubt", WEAK) == WEAK for check in summary["checks"]
    )
