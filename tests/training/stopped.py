"""Trainings that are interrupted at a step, or before the first one."""

import contextlib
import json
import signal
from pathlib import Path

import keras
import pytest

import bit_keras
from bit_keras.training.callbacks import LearningCurve


@contextlib.contextmanager
def stopped_at(step, monkeypatch):
    """Ends the run inside of the block by SIGINT after that step."""
    stock = LearningCurve.on_train_batch_end

    def on_train_batch_end(self, batch, logs):
        stock(self, batch, logs)
        if self.step == step:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(LearningCurve, "on_train_batch_end", on_train_batch_end)
            with pytest.raises(KeyboardInterrupt):
                yield
    finally:
        signal.signal(signal.SIGINT, before)


def planned_configuration(*arguments, output_dir, **options):
    """Returns the content of config.json of a call of `finetune` that is not trained."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "compile", stop)
        with pytest.raises(KeyboardInterrupt):
            bit_keras.finetune(*arguments, output_dir=output_dir, verbose=False, **options)
    return json.loads((Path(output_dir) / "config.json").read_text())
