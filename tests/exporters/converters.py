"""Converters that fail; `ChildProcess` imports them by their names in another process."""

import os

from networks import randomize, tiny

import bit_keras
from bit_keras.exporters import formats


def abort(source, path):
    path.write_text("half")
    os.abort()


def raise_error(source, path):
    path.write_text("half")
    raise TypeError("no such operation\nand a page more")


def write_another_model(source, path):
    other = source.parent / "other"
    bit_keras.export_saved_model(randomize(tiny(), seed=1), other, freeze=True)
    formats._write_openvino(other, path)
