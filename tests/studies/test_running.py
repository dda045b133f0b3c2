"""The order of steps, and the other steps after a failure or the time limit."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from condgen.config import load_preset
from condgen.errors import TrainingError
from condgen.studies import running, steps
from condgen.studies.running import run_steps
from condgen.studies.steps import Outcome, Setting, Step, note, take
from tests.conftest import TINY

Taken = Callable[[Step], Outcome | Exception]


def steps_of(folder: Path, *labels: str) -> list[Step]:
    config = load_preset("digits-base", TINY)
    return [
        Step(label, config, folder / label, what)
        for label in labels
        for what in ("training", "a", "b")
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Taken], dict[str, Outcome]]:
    """Run two times three steps with a given outcome; an exception simulates a lost worker."""

    def run_all(taken: Taken) -> dict[str, Outcome]:
        def replaced(step: Step, setting: Setting) -> Outcome:
            outcome = taken(step)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(running, "take", replaced)
        with ThreadPoolExecutor(2) as executor:
            ended = run_steps(steps_of(tmp_path, "x", "y"), executor, Setting(tmp_path))
        return {step.name: outcome for step, outcome in ended.items()}

    return run_all


def test_audits_begin_after_the_training_of_their_run(
    run: Callable[[Taken], dict[str, Outcome]],
) -> None:
    began: list[str] = []
    ended: list[str] = []

    def taken(step: Step) -> Outcome:
        began.append(step.name)
        if not step.is_training:
            assert f"{step.label}/training" in ended
        time.sleep(0.2 if step.name == "x/training" else 0)
        ended.append(step.name)
        return Outcome("done")

    assert {outcome.ending for outcome in run(taken).values()} == {"done"}
    assert len(began) == 6
    assert began.index("y/a") < began.index("x/a")  # y does not wait for x


@pytest.mark.parametrize("lost", [Outcome("failed", error="why"), RuntimeError("why")])
def test_a_training_that_fails_costs_its_own_audits_alone(
    lost: Outcome | Exception, run: Callable[[Taken], dict[str, Outcome]], tmp_path: Path
) -> None:
    found = run(lambda step: lost if step.name == "x/training" else Outcome("done"))
    assert found["x/training"].error == "why"
    assert [found[f"x/{what}"].ending for what in ("a", "b")] == ["not run", "not run"]
    assert found["x/a"].error == "the training failed"
    assert all(found[f"y/{what}"].ending == "done" for what in ("training", "a", "b"))
    assert "why" in note(tmp_path, steps_of(tmp_path, "x")[0], "failed").read_text()


def test_an_audit_that_fails_costs_no_other_and_is_forgotten_when_it_succeeds(
    run: Callable[[Taken], dict[str, Outcome]], tmp_path: Path
) -> None:
    found = run(lambda step: Outcome("failed") if step.name == "x/a" else Outcome("done"))
    assert [name for name, outcome in found.items() if outcome.ending != "done"] == ["x/a"]
    failed = note(tmp_path, steps_of(tmp_path, "x")[1], "failed")
    assert failed.exists()
    run(lambda step: Outcome("done"))
    assert not failed.exists()


def test_audits_of_a_training_that_was_stopped_in_time_are_not_run(
    run: Callable[[Taken], dict[str, Outcome]],
) -> None:
    found = run(lambda step: Outcome("stopped") if step.name == "x/training" else Outcome("done"))
    assert found["x/a"] == Outcome("not run", error="the training is not finished")


def test_an_error_is_an_outcome_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(steps.experiments, "train", explode)
    monkeypatch.setattr(steps, "_prepare", lambda threads: None)
    training = steps_of(tmp_path, "x")[0]
    error: Exception = TrainingError("too\nlarge")
    outcome = take(training, Setting(tmp_path))
    assert (outcome.ending, outcome.error) == ("failed", "too large")
    assert "in explode" in outcome.details
    error = KeyError("k")
    assert take(training, Setting(tmp_path)).error == "KeyError: 'k'"
    assert not note(tmp_path, training, "running").exists()


def test_nothing_begins_when_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps.experiments, "train", lambda *_, **__: pytest.fail("began"))
    outcome = take(steps_of(tmp_path, "x")[0], Setting(tmp_path, until=time.time() - 1))
    assert outcome == Outcome("not run", error="the time limit is reached")


def test_a_training_gets_the_minutes_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(steps.experiments, "train", lambda *_, minutes, **__: given.append(minutes))
    monkeypatch.setattr(steps, "_prepare", lambda threads: None)
    outcome = take(steps_of(tmp_path, "x")[0], Setting(tmp_path, until=time.time() + 120))
    assert outcome.ending == "stopped"  # nothing was trained
    assert given == [pytest.approx(2, abs=0.1)]
