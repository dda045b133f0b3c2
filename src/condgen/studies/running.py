"""Run the steps of a plan: each training first, then its audits in parallel."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field

from condgen.files import atomic_write
from condgen.studies.steps import TOO_LATE, Outcome, Setting, Step, note, take

POLL_SECONDS = 0.5

Watch = Callable[[Sequence[Step], Mapping[Step, Outcome]], None]


@dataclass
class _Queue:
    """Waiting, running and ended steps."""

    executor: Executor
    setting: Setting
    waiting: list[Step]
    running: dict[Future[Outcome], Step] = field(default_factory=dict)
    ended: dict[Step, Outcome] = field(default_factory=dict)

    def begin_ready(self) -> None:
        """Submit the steps that wait for no training; none after the time limit."""
        if self.setting.until is not None and time.time() >= self.setting.until:
            self.ended |= dict.fromkeys(self.waiting, TOO_LATE)
            self.waiting = []
        trainings = {
            step.path: step for step in (*self.waiting, *self.running.values()) if step.is_training
        }
        ready = [step for step in self.waiting if step.is_training or step.path not in trainings]
        self.waiting = [step for step in self.waiting if step not in ready]
        for step in ready:
            # the note may be left from a call that was killed
            note(self.setting.folder, step, "running").unlink(missing_ok=True)
            self.running[self.executor.submit(take, step, self.setting)] = step

    def end(self, step: Step, outcome: Outcome) -> None:
        """Record how a step ended; the audits of an unfinished training are not run."""
        self.ended[step] = outcome
        _keep_failure(step, outcome, self.setting)
        if step.is_training and outcome.ending != "done":
            dependent = [audit for audit in self.waiting if audit.path == step.path]
            self.waiting = [audit for audit in self.waiting if audit not in dependent]
            words = {"failed": "the training failed", "stopped": "the training is not finished"}
            for audit in dependent:
                self.ended[audit] = Outcome(
                    "not run", error=words.get(outcome.ending, outcome.error)
                )


def run_steps(
    steps: Sequence[Step], executor: Executor, setting: Setting, watch: Watch | None = None
) -> dict[Step, Outcome]:
    """Run steps to their end; a step that fails does not stop the others.

    Args:
        steps: Steps to run. An audit waits for the training of its run, if that is among them.
        executor: :class:`condgen.studies.workers.LocalWorkers`, Dask's executor, or any other whose
            workers see the same files.
        setting: The setting that all steps share.
        watch: Called twice a second with the submitted steps and the ended steps.

    Returns:
        How each step ended.
    """
    steps_queue = _Queue(executor, setting, list(steps))
    steps_queue.begin_ready()
    while steps_queue.running:
        done, _ = wait(steps_queue.running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            steps_queue.end(steps_queue.running.pop(future), _outcome(future))
        steps_queue.begin_ready()
        if watch:
            watch(list(steps_queue.running.values()), steps_queue.ended)
    return steps_queue.ended


def _outcome(future: Future[Outcome]) -> Outcome:
    """The result of the worker; a lost worker is a failure of its step."""
    try:
        return future.result()
    except CancelledError:
        return Outcome("failed", error="cancelled: the Dask scheduler was lost.")
    except Exception as error:
        return Outcome("failed", error=" ".join(str(error).split()) or type(error).__name__)


def _keep_failure(step: Step, outcome: Outcome, setting: Setting) -> None:
    """Save the error of a failed step; delete it if the step succeeds."""
    path = note(setting.folder, step, "failed")
    if outcome.ending == "failed":
        with atomic_write(path) as work:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            work.write_text(f"{now} {step.name}: {outcome.error}\n\n{outcome.details}")
    elif outcome.ending == "done":
        path.unlink(missing_ok=True)
