"""A picture's file."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from bit_keras.atomic_file import written_whole


def save_figure(figure: Figure, path: Path) -> None:
    """Saves a figure as a PNG, whole or not at all."""
    with written_whole(path) as temporary, warnings.catch_warnings():
        # A class may be called in a script that matplotlib's font lacks: it shows boxes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(temporary, dpi=110)
