"""What needs no network is answered without Keras, and without TensorFlow's log lines."""

import os
import subprocess
import sys

import pytest

# Each ends before a network, a task or a file is needed.
ANSWERED_AT_ONCE = {
    "--help": 0,
    "--version": 0,
    "finetune --help": 0,
    "pretrain --help": 0,
    "vtab --help": 0,
    "finetun": 2,
    "finetune --modell=BiT-M-R50x1": 2,
    "finetune --steps=many": 2,
    "finetune --model=BiT-M-R50x": 2,
    "pretrain --model=BiT-M-R50x": 2,
    "finetune --task=cifar": 2,
    "fewshot --task=vtab/nothing": 2,
    "finetune --task=imagenet21k": 2,
    "pretrain --task=imagenet": 2,
    "vtab --tasks=clevr": 2,
    "evaluate BiT-M-R50x": 2,
    "export BiT-M-R50x": 2,
    "distill BiT-M-R50x": 2,
}

# Seconds of processor time; the interpreter alone takes 0.02 to 0.05.
LIMIT = 0.5

PROGRAM = """
import sys, time
from bit_keras.cli import main
status = main(sys.argv[1:])
heavy = {"keras", "tensorflow", "numpy", "tensorflow_datasets"} & set(sys.modules)
print(status, time.process_time(), *heavy)
"""


def run_program(program, *arguments, **environment):
    environment = {**os.environ, **environment}
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )


@pytest.mark.parametrize("words", ANSWERED_AT_ONCE)
def test_the_answer_needs_no_keras_and_half_a_second(words, tmp_path):
    seconds = []
    for _ in range(3):  # another process may have slowed one of them
        answer = run_program(PROGRAM, *words.split(), BIT_KERAS_HOME=str(tmp_path))
        assert answer.returncode == 0, answer.stderr
        status, time, *heavy = answer.stdout.splitlines()[-1].split()
        assert int(status) == ANSWERED_AT_ONCE[words]
        assert not heavy
        assert bool(answer.stderr) == (int(status) == 2)
        seconds.append(float(time))
        if seconds[-1] < LIMIT:
            break
    assert min(seconds) < LIMIT


IMPORTS = """
from bit_keras.cli.tensorflow_log import hide_tensorflow_log
hide_tensorflow_log()
import os, sys
import tensorflow as tf
print("a line of ours", file=sys.stderr)
"""


@pytest.mark.slow
def test_lines_of_tensorflow_are_hidden_and_others_are_not():
    answer = run_program(IMPORTS, TF_CPP_MIN_LOG_LEVEL=None)
    assert answer.returncode == 0
    assert answer.stderr == "a line of ours\n"


@pytest.mark.slow
def test_a_level_that_the_user_set_is_kept():
    program = IMPORTS + "print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    answer = run_program(program, TF_CPP_MIN_LOG_LEVEL="1")
    assert answer.stdout == "1\n"


def test_the_filter_removes_log_lines_only():
    program = """
import os
from bit_keras.cli.tensorflow_log import filtered_stderr
with filtered_stderr():
    os.write(2, b"I0000 00:00:1795876255.119096    5899 cudart_stub.cc:31] Could not find\\n")
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called\\n")
    os.write(2, b"Illegal instruction\\n")
os.write(2, b"after\\n")
"""
    answer = run_program(program, TF_CPP_MIN_LOG_LEVEL="3")
    assert answer.stderr == "Illegal instruction\nafter\n"
    answer = run_program(program, TF_CPP_MIN_LOG_LEVEL="0")
    assert answer.stderr.count("\n") == 4


def test_the_filter_lets_the_message_of_a_crash_through():
    program = """
import os, signal
from bit_keras.cli.tensorflow_log import filtered_stderr
with filtered_stderr():
    os.write(2, b"needs another processor\\n")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    answer = run_program(program, TF_CPP_MIN_LOG_LEVEL="3")
    assert answer.returncode == -9
    assert answer.stderr == "needs another processor\n"


def test_standard_error_may_be_closed():
    program = """
import os
from bit_keras.cli.tensorflow_log import filtered_stderr
os.close(2)
with filtered_stderr():
    print("done")
"""
    assert run_program(program, TF_CPP_MIN_LOG_LEVEL="3").stdout == "done\n"


@pytest.mark.slow
def test_a_training_writes_nothing_of_tensorflow_to_standard_error(tmp_path):
    program = "import sys; from bit_keras.cli import main; sys.exit(main(sys.argv[1:]))"
    flags = ["--steps=1", "--batch_size=8", f"--output_dir={tmp_path / 'run'}"]
    answer = run_program(program, "finetune", *flags, TF_CPP_MIN_LOG_LEVEL=None)
    assert answer.returncode == 0
    assert answer.stderr == ""
