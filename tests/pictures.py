"""Pictures of one pixel, in place of those that a run draws."""

import contextlib

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from bit_keras.evaluation import plots


@contextlib.contextmanager
def one_pixel():
    """Replaces every picture that is drawn inside, which takes 3 s a run, by one white pixel."""

    def write(path):
        matplotlib.image.imsave(path, np.ones((1, 1, 3)), format="png")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, path, **_: write(path))
        patch.setattr(plots, "plot_images", lambda *arguments: write(arguments[-1]))
        yield
