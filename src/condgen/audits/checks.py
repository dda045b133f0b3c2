"""A promise, whether it is kept, and what to do if it is not."""

from dataclasses import dataclass

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"

# what a failed check puts in doubt
WEAK, LUCK, FEW, STORAGE = "weak attacks", "luck", "few images", "storage"
UNDER_TRAINED = "under-trained model"


@dataclass(frozen=True)
class Check:
    """One line of a self-examination.

    Args:
        name: The promise.
        passed: Whether it is kept; ``None`` if there was nothing to examine.
        found: What was measured, in words.
        advice: What to do if it is not kept.
        doubt: What a failure puts in doubt: :data:`WEAK`, :data:`LUCK`, :data:`FEW`, :data:`STORAGE` or
            :data:`UNDER_TRAINED`; empty where nothing is known of that. The first sentences of a report say it.
    """

    name: str
    passed: bool | None
    found: str
    advice: str
    doubt: str = ""

    @property
    def outcome(self) -> str:
        """In words."""
        return NOT_RUN if self.passed is None else PASS if self.passed else FAIL
