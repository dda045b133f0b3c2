"""The plan as a table: finished steps with their versions, and the steps that are left."""

from collections.abc import Sequence
from dataclasses import asdict

from condgen.reports.tables import MISSING, Table
from condgen.studies.plan import Plan, PlannedRun, PlannedStep
from condgen.studies.steps import TRAINING, Step
from condgen.training.progress import duration


def plan_table(plan: Plan) -> Table:
    """A row for each case, a column for the training and each audit."""
    audits = plan.study.audits
    rows = []
    for case in plan.study.cases:
        runs = [planned for planned in plan.runs if planned.run.case == case]
        rows.append((case, str(len(runs)), *(_cell(runs, what) for what in (TRAINING, *audits))))
    numbers = tuple(
        {"run": planned.step.label, "step": planned.step.what, **_numbers(planned)}
        for run in plan.runs
        for planned in run.steps
    )
    caption = (
        "For finished steps, the version of condgen that ran them; for all others, the estimated"
        " time (? if unknown)."
    )
    return Table(
        "study",
        plan.study.page.title,
        caption,
        ("run", "seeds", TRAINING, *audits),
        tuple(rows),
        numbers,
    )


def _cell(runs: Sequence[PlannedRun], what: str) -> str:
    """The state of a step over all seeds."""
    steps = [planned for run in runs if (planned := run.step(what)) is not None]
    done = [planned for planned in steps if planned.state == "done"]
    if not steps:
        return MISSING
    versions = ", ".join(sorted({planned.version or "version not recorded" for planned in done}))
    if len(done) == len(steps):
        return f"done ({versions})"
    left = [planned for planned in steps if planned.state != "done"]
    times = [planned.seconds for planned in left if planned.seconds is not None]
    length = duration(sum(times)) + (" + ?" if len(times) < len(left) else "") if times else "?"
    if len(steps) == 1:
        return f"{left[0].state}, {length}"
    return f"{len(done)} of {len(steps)} done" + (f" ({versions})" if done else "") + f", {length}"


def _numbers(planned: PlannedStep) -> dict[str, object]:
    return {key: value for key, value in asdict(planned).items() if key != "step"}


def plan_words(plan: Plan, steps: Sequence[Step], jobs: int) -> str:
    """A sentence on the steps to run."""
    total = sum(len(run.steps) for run in plan.runs)
    if not steps:
        return f"{total} steps, all done."
    seconds, unknown = plan.seconds(steps)
    time = duration(seconds / jobs)
    words = f"{len(steps)} of {total} steps to do, about {time} with {jobs} at a time"
    return words + (f", and {unknown} steps of unknown length." if unknown else ".")
