"""When a training stops before its end: at a time limit, or after SIGINT or SIGTERM."""

import math
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether a training must stop after the current step.

    As a context it takes over SIGINT (Ctrl-C) and SIGTERM: the first one lets the step finish, so
    that the training can save its state; a second one acts at once. Signals that were ignored stay
    ignored. Outside the main thread no signal is taken over.

    Args:
        minutes: Time limit from now; ``None`` for none.

    Attributes:
        signal: The signal that arrived; 0 if none did.
    """

    def __init__(self, minutes: float | None = None):
        self.end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return bool(self.signal) or time.monotonic() >= self.end

    def raise_signal(self) -> None:
        """End as the signal would have: by ``KeyboardInterrupt``, or exit status 143.

        Does nothing if no signal arrived.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal:
            raise SystemExit(128 + self.signal)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
