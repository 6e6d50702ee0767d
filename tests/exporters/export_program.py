"""Exports the tiny network of a seed: a process that can be killed.

    python export_program.py PATH SEED FREEZE

It says "exporting" when it begins, and exits with 0 when it has ended.
"""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, str(Path(__file__).parent.parent))

from networks import randomize, tiny

import bit_keras


def main(path, seed, freeze):
    model = randomize(tiny(name="tiny"), seed=int(seed))
    export = bit_keras.export_saved_model  # imported before the word is given
    print("exporting", flush=True)
    export(model, path, freeze=bool(int(freeze)), overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
