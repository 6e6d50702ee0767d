"""Writes the files of `tests/earlier_version/`, which later versions must open.

    git checkout af927ed && python write_files.py OUTPUT_DIRECTORY

They were written at that commit, from a copy of this file and of network.py: version 0.1 of the
package, before its modules moved to the folders of today. To write them anew with a later version
would only show that a version opens its own files.
"""

import contextlib
import json
import shutil
import signal
import sys
import tarfile
import tempfile
from pathlib import Path

import keras
import numpy as np
from commands_run import RUNS, files_below
from listings import flags, signatures
from network import RULE, images, network, task

import bit_keras
from bit_keras.commands import COMMANDS
from bit_keras.training.learning_curve import LearningCurve

STOP_AT = 3


def write_models(directory: Path) -> None:
    model = network()
    inputs = np.asarray(bit_keras.preprocess_input(images()))
    model.compile(
        keras.optimizers.SGD(RULE.schedule(), momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(inputs, np.arange(12) % 3, batch_size=4, epochs=1, shuffle=False, verbose=0)
    model.save(directory / "compiled.keras")
    bit_keras.save_npz(model, directory / "weights.npz")
    bit_keras.export_saved_model(model, directory / "saved_model", class_names=["a", "b", "c"])
    logits = model.predict(inputs, verbose=0)
    loss, accuracy = model.evaluate(inputs, np.arange(12) % 3, verbose=0)
    np.savez(directory / "expected.npz", logits=logits, loss=loss, accuracy=accuracy)


def write_runs(directory: Path) -> None:
    stock = LearningCurve.on_train_batch_end

    def stop(self, batch, logs):
        stock(self, batch, logs)
        if self.step == STOP_AT:
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    LearningCurve.on_train_batch_end = stop
    with contextlib.suppress(KeyboardInterrupt):
        bit_keras.finetune(network(), task(), RULE, output_dir=directory / "stopped", verbose=False)
    LearningCurve.on_train_batch_end = stock
    bit_keras.finetune(network(), task(), RULE, output_dir=directory / "finished", verbose=False)
    for run in ("stopped", "finished"):
        shutil.rmtree(directory / run / "tensorboard", ignore_errors=True)


def run_files() -> dict:
    """Returns the files, and the keys of the JSON files, that each command leaves."""
    from bit_keras.cli import main

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in RUNS.items():
            directory = Path(folder, name)
            status = main(
                [*(word.format(folder=folder) for word in arguments), f"--output_dir={directory}"]
            )
            assert status == 0, name
            found[name] = files_below(directory)
    return found


def main() -> None:
    output = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        write_runs(Path(folder))
        with tarfile.open(output / "files.tar.xz", "w:xz", preset=9) as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.add(path, path.name)
    listing = {"signatures": signatures(), "flags": flags(COMMANDS), "run_files": run_files()}
    (output / "public.json").write_text(json.dumps(listing, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
