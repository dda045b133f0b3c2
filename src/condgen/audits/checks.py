"""Checks: a requirement, whether it holds, and what to do if it does not."""

from dataclasses import dataclass

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"

# kinds of doubt that a failed check raises
WEAK, LUCK, FEW, STORAGE = "weak attacks", "luck", "few images", "storage"
UNDER_TRAINED = "under-trained model"


@dataclass(frozen=True)
class Check:
    """One check of an evaluation.

    Args:
        name: The requirement.
        passed: Whether it holds; ``None`` if the check could not run.
        found: The measurement, in words.
        advice: What to do if the check fails.
        doubt: What a failure puts in doubt: :data:`WEAK`, :data:`LUCK`, :data:`FEW`,
            :data:`STORAGE` or :data:`UNDER_TRAINED`; empty if unknown. The first sentences of a
            report state it.
    """

    name: str
    passed: bool | None
    found: str
    advice: str
    doubt: str = ""

    @property
    def outcome(self) -> str:
        """:data:`PASS`, :data:`FAIL` or :data:`NOT_RUN`."""
        return NOT_RUN if self.passed is None else PASS if self.passed else FAIL
