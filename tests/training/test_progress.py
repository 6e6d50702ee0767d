"""The progress of a training: means and not single batches, the time left, and plain lines."""

import io

import pytest
from networks import quick, randomize
from rich.console import Console

import bit_keras
from bit_keras.training import progress
from bit_keras.training.callbacks import LearningCurve
from bit_keras.training.progress import ShownProgress

STEPS = 10


def shown(monkeypatch, seconds_a_step, is_terminal=False, first=0, steps=STEPS):
    """Returns what is written of ten steps, whose accuracies are 0, 0.1, 0.2 and so on."""
    clock = iter(1000 + seconds_a_step * step for step in range(steps))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    curve = LearningCurve(steps, lambda step: 0.1, None)
    curve.step = first
    written = io.StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=100)
    with ShownProgress(curve, console) as callback:
        for batch in range(steps - first):
            curve.step += 1
            callback.on_train_batch_end(batch, {"loss": 2.0 * batch, "accuracy": batch / 10})
    return written.getvalue()


def test_lines_at_intervals_with_the_means_so_far_and_the_time_left(monkeypatch):
    lines = shown(monkeypatch, seconds_a_step=10).splitlines()
    assert lines == [
        "Step 1/10: mean accuracy 0.0%, mean loss 0",
        "Step 4/10: mean accuracy 15.0%, mean loss 3, 60 seconds left",
        "Step 7/10: mean accuracy 30.0%, mean loss 6, 30 seconds left",
        "Step 10/10: mean accuracy 45.0%, mean loss 9",
    ]


def test_quick_trainings_write_two_lines_and_long_ones_count_hours(monkeypatch):
    assert len(shown(monkeypatch, seconds_a_step=0.01).splitlines()) == 2
    assert "mean loss 1, 8 hours left" in shown(monkeypatch, seconds_a_step=3600)


def test_a_resumed_run_counts_its_steps_from_the_first_one(monkeypatch):
    lines = shown(monkeypatch, seconds_a_step=10, first=8).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Step 9/10", "Step 10/10"]


def test_a_terminal_shows_a_bar_that_ends_as_a_line(monkeypatch):
    monkeypatch.setattr(progress, "_INTERVAL", 0)
    stops = []
    stock = progress.Progress.stop
    monkeypatch.setattr(progress.Progress, "stop", lambda self: (stops.append(1), stock(self)))
    monkeypatch.setattr(progress.Progress, "start", lambda self: None)  # It draws by the clock.
    written = shown(monkeypatch, seconds_a_step=1, is_terminal=True)
    assert written.count("Step ") == 1
    assert "Step 10/10: mean accuracy 45.0%, mean loss 9\n" in written
    assert stops


@pytest.mark.usefixtures("no_drawing")
def test_a_run_shows_its_progress_unless_it_is_quiet(tmp_path, capsys):
    def run(name, verbose):
        budget = {"steps": 2, "batch_size": 4}
        bit_keras.finetune(
            randomize(quick()), "digits", budget=budget, output_dir=tmp_path / name, verbose=verbose
        )
        return capsys.readouterr().out

    said = run("said", verbose=True)
    assert "Step 1/2: mean accuracy" in said
    assert "Step 2/2: mean accuracy" in said
    assert "ms/step" not in said
    assert run("quiet", verbose=False) == ""
