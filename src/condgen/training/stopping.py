"""When a training stops before its end: at a time limit, or after SIGINT or SIGTERM."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from condgen import processes

TIME_IS_UP = 1  # less than the number of any signal in SIGNALS
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """True as soon as a training must stop after its current step.

    Args:
        minutes: Time limit from now; ``None`` for none.

    Attributes:
        signal: The signal that arrived at this process; 0 if none did.
    """

    def __init__(self, minutes: float | None = None):
        self.end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.signal = 0
        self._reason = 0

    def check(self, *others: int) -> list[int]:
        """Agree with all processes whether to stop: a signal to one of them stops all.

        Args:
            others: Further numbers to agree on.

        Returns:
            The largest of each of them over processes.
        """
        reason = self.signal or int(time.monotonic() >= self.end) * TIME_IS_UP
        self._reason, *agreed = processes.largest(reason, *others)
        return agreed

    def __bool__(self) -> bool:
        return self._reason > 0

    def raise_signal(self) -> None:
        """End as the signal would have: by ``KeyboardInterrupt``, or exit status 143.

        Does nothing if no signal was agreed on.
        """
        if self._reason == signal.SIGINT:
            raise KeyboardInterrupt
        if self._reason > TIME_IS_UP:
            raise SystemExit(128 + self._reason)


@contextmanager
def stopping(minutes: float | None = None) -> Iterator[Stop]:
    """Context in which the first SIGINT (Ctrl-C) or SIGTERM is noted instead of raised.

    The training can then finish its step and save its state. A second signal acts at once, unless
    there are several processes: ``torchrun`` repeats the signal, and kills after 30 seconds.
    Signals that were ignored stay ignored. Outside the main thread no signal is noted.
    """
    stop = Stop(minutes)
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def note(number: int, _: FrameType | None) -> None:
        stop.signal = number
        if processes.count() == 1:
            restore()

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
