"""Splits by series, and pictures on white."""

import numpy as np
from PIL import Image

from bit_keras.data.series import hold_out_series, on_white, series_of, signature


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    return Image.fromarray(pixels).resize((64, 64))


def test_on_white_trims_centres_and_shows_transparency_as_white():
    drawing = Image.new("RGBA", (200, 100))
    drawing.paste((255, 0, 0, 255), (20, 30, 60, 50))
    shown = np.asarray(on_white(drawing, 32)).astype(int)
    assert shown.shape == (32, 32, 3)
    red = shown[..., 1] < 128
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (len(columns), len(rows)) in {(30, 15), (30, 16), (30, 14)}
    assert abs(rows.mean() - 15.5) < 1
    assert (shown[0] == 255).all()
    assert on_white(Image.new("RGBA", (10, 10)), 32) is None


def test_series_are_joined_by_name_by_look_and_by_mirror_image():
    pictures = {"a1": picture(0), "a2": picture(1), "b": picture(2), "c": picture(3)}
    pictures["d"] = pictures["b"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    signatures = np.stack([signature(each) for each in pictures.values()])
    found = series_of(list(pictures), lambda name: name[0], signatures, 0.95)
    assert found == [["a1", "a2"], ["b", "d"], ["c"]]
    found = series_of(list(pictures), lambda name: name[0], signatures, 0.95, mirror=False)
    assert found == [["a1", "a2"], ["b"], ["c"], ["d"]]


def test_hold_out_keeps_series_together_and_gives_27_percent():
    series = [[f"{number}-{each}" for each in range(number % 4 + 1)] for number in range(80)]
    train, test = hold_out_series(series)
    assert sorted(train + test) == sorted(name for each in series for name in each)
    assert abs(len(test) - 0.27 * 200) < 2
    assert not {name.split("-")[0] for name in train} & {name.split("-")[0] for name in test}
    assert hold_out_series(series[::-1]) == (train, test)
    assert len(hold_out_series(series, most_test=20)[1]) <= 20
