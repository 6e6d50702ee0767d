"""Shows the progress of a training: a bar on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bit_keras.training.callbacks import LearningCurve
from bit_keras.utils.duration import duration

# Where there is no terminal, a line of progress is printed every 30 seconds.
_INTERVAL = 30


class ShownProgress(keras.callbacks.Callback):
    """A callback and context manager that shows step, mean loss, mean accuracy and time left.

    Loss and accuracy are means over the steps since the start of the process, because those of a
    single batch go up and down. The time left follows from the steps after the first one, which
    TensorFlow traces.

    Args:
        curve: the learning curve, which knows the step. It must come before this callback.
        console: where the progress is shown; None is the standard output.
    """

    def __init__(self, curve: LearningCurve, console: Console | None = None):
        super().__init__()
        self._curve = curve
        self._console = console or Console()
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            # The bar is erased when it stops, because the last step is printed as a line.
            transient=True,
        )
        self._sums = {"loss": 0.0, "accuracy": 0.0}
        self._steps_here = 0
        self._first_step_ended = self._last_line = 0.0

    def __enter__(self) -> ShownProgress:
        if self._console.is_terminal:
            self._task = self._bar.add_task(
                "the first step is being traced",
                total=self._curve.steps,
                completed=self._curve.step,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_bar()

    def _end_bar(self) -> None:
        # Where there is no terminal, no bar was started, and `stop` would print an empty line.
        if self._console.is_terminal:
            self._bar.stop()

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        now = time.monotonic()
        self._steps_here += 1
        if self._steps_here == 1:
            self._first_step_ended = now
        for name in self._sums:
            self._sums[name] += float(logs[name])
        step, steps, text = self._curve.step, self._curve.steps, self._description(now)
        if step == steps:
            self._end_bar()
        elif self._console.is_terminal:
            self._bar.update(self._task, completed=step, description=text)
            return
        if step == steps or self._steps_here == 1 or now - self._last_line >= _INTERVAL:
            self._last_line = now
            print(f"Step {step}/{steps}: {text}", file=self._console.file, flush=True)

    def _description(self, now: float) -> str:
        means = {name: total / self._steps_here for name, total in self._sums.items()}
        text = f"mean accuracy {means['accuracy']:.1%}, mean loss {means['loss']:.4g}"
        remaining = self._curve.steps - self._curve.step
        if self._steps_here == 1 or not remaining:
            return text
        seconds_a_step = (now - self._first_step_ended) / (self._steps_here - 1)
        return f"{text}, {duration(remaining * seconds_a_step)} left"
