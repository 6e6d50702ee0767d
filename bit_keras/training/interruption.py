"""Signals that end a training in peace."""

import signal
import threading
from types import FrameType


class Interruption:
    """Notes SIGINT (Ctrl-C) and SIGTERM while it is entered, for a step to end in peace.

    A second signal of the kind does what it always did. Outside of the main thread, where Python
    allows no handlers, signals stay as they are.
    """

    def __init__(self):
        self.received: int | None = None
        self._before = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
