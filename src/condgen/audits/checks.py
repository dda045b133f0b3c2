"""A promise, whether it is kept, and what to do if it is not."""

from dataclasses import dataclass

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"


@dataclass(frozen=True)
class Check:
    """One line of a self-examination.

    Args:
        name: The promise.
        passed: Whether it is kept; ``None`` if that could not be examined.
        found: What was measured, in words.
        advice: What to do if it is not kept.
    """

    name: str
    passed: bool | None
    found: str
    advice: str

    @property
    def outcome(self) -> str:
        """In words."""
        return NOT_RUN if self.passed is None else PASS if self.passed else FAIL
