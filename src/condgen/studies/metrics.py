"""Metrics of runs from their records and logs, and their statistics over seeds."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from condgen.errors import ConfigError, suggest
from condgen.registry import AUDITS
from condgen.runs import Run
from condgen.studies.labels import flat
from condgen.studies.plan import Plan, PlannedRun, PlannedStep
from condgen.studies.steps import TRAINING, note
from condgen.studies.study import source_of
from condgen.training.log import read_log

# over the epochs of a log; for all other metrics, the last epoch counts
REDUCED: dict[str, Callable[[Sequence[float]], float]] = {
    "images_per_second": statistics.median,
    "gradient_norm": max,
}

OPTIONAL = {"peak_memory_mib"}  # only on a GPU


@dataclass(frozen=True)
class Value:
    """A number over ``n`` seeds, with a 95 % interval if there is one."""

    value: float
    interval: tuple[float, float] | None = None
    n: int = 1


@dataclass(frozen=True)
class Numbers:
    """The metrics of a study's finished steps."""

    plan: Plan

    def of(self, metric: str, case: str) -> dict[int, Value]:
        """A metric for each seed of a case that is done.

        Args:
            metric: ``AUDIT.KEY`` of a record's summary, or ``training.KEY`` of the log.
            case: A label without a seed.

        Raises:
            ConfigError: If no record of the study has such a number.
        """
        source, key = source_of(metric, self.plan.study.audits)
        summaries = {
            (run.run.case, run.run.config.seed): _summary(run, source)
            for run in self.plan.runs
            if run.has(source)
        }
        keys = {name for summary in summaries.values() for name in summary}
        if summaries and key not in keys and key not in OPTIONAL:
            raise ConfigError(
                f"metric '{metric}' is in no record of the study; {suggest(key, keys)}"
            )
        found = {
            seed: _number(summary, key) for (of, seed), summary in summaries.items() if of == case
        }
        return {seed: value for seed, value in found.items() if value is not None}

    def statistic(self, metric: str, case: str, kind: str = "mean") -> Value | None:
        """The mean over seeds with Student's 95 % interval, or their maximum or minimum.

        For one seed, the interval is that of its record.
        """
        values = list(self.of(metric, case).values())
        if len(values) < 2:
            return values[0] if values else None
        numbers = [value.value for value in values]
        if kind != "mean":
            return Value(max(numbers) if kind == "max" else min(numbers), n=len(numbers))
        return mean_of(numbers)

    def failed(self, case: str) -> list[int]:
        """The seeds of a case with a failed step that has not succeeded since."""
        runs = [run for run in self.plan.runs if run.run.case == case]
        return [
            run.run.config.seed
            for run in runs
            if any(self._failed(planned) for planned in run.steps)
        ]

    def _failed(self, planned: PlannedStep) -> bool:
        return planned.state != "done" and note(self.plan.folder, planned.step, "failed").exists()

    def difference(self, metric: str, first: str, second: str) -> Value | None:
        """The mean of first minus second over common seeds, with Student's 95 % interval."""
        one, other = self.of(metric, first), self.of(metric, second)
        both = [one[seed].value - other[seed].value for seed in one if seed in other]
        return mean_of(both) if both else None


def mean_of(numbers: Sequence[float]) -> Value:
    """The mean; for more than one number, with Student's 95 % interval.

    >>> mean_of([1.0, 1.0]).interval
    (1.0, 1.0)
    """
    mean = statistics.fmean(numbers)
    if len(numbers) < 2:
        return Value(mean, n=len(numbers))
    half = (
        float(stats.t.ppf(0.975, len(numbers) - 1))
        * statistics.stdev(numbers)
        / math.sqrt(len(numbers))
    )
    return Value(mean, (mean - half, mean + half), len(numbers))


def _summary(run: PlannedRun, source: str) -> Mapping[str, Any]:
    if source != TRAINING:
        summary = Run.open(run.path).record(AUDITS.get(source).name).summary
        return flat({**summary, **_of_attacks(summary.get("cells", []))})
    lines = read_log(run.path)
    last = dict(lines[-1]) if lines else {}
    for name, reduce in REDUCED.items():
        if values := [line[name] for line in lines if line.get(name) is not None]:
            last[name] = reduce(values)
    return last


def _of_attacks(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Table 2 by attack, detector-aware: ``aware.worst case.quantized_within``."""
    return {f"aware.{cell['attack']}": dict(cell) for cell in cells if cell["detector_aware"]}


def _number(summary: Mapping[str, Any], key: str) -> Value | None:
    value, interval = summary.get(key), summary.get(f"{key}_ci")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return Value(float(value), (float(interval[0]), float(interval[1])) if interval else None)
