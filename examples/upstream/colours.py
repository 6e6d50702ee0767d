"""Random colours with enough contrast between a drawing and its ground."""

from __future__ import annotations

import colorsys
import random

Colour = tuple[int, int, int]

# The least difference of brightness between a drawing and its ground; black and white have 1.
CONTRAST = 0.3

_TRIES = 50


def brightness(colour: Colour) -> float:
    """Returns how bright a colour looks, from 0 to 1 (the luma of Rec. 601).

    >>> brightness((255, 255, 255))
    1.0
    """
    red, green, blue = colour
    return round((0.299 * red + 0.587 * green + 0.114 * blue) / 255, 6)


def any_colour(chance: random.Random) -> Colour:
    """Returns a random colour; one in six is grey, black or white."""
    saturation = 0.0 if chance.random() < 1 / 6 else chance.random()
    return _rgb(chance.random(), saturation, chance.random())


def light_colour(chance: random.Random) -> Colour:
    """Returns white, or a random light colour."""
    if chance.random() < 0.3:
        return (255, 255, 255)
    return _rgb(chance.random(), 0.35 * chance.random(), 0.85 + 0.15 * chance.random())


def ground(chance: random.Random, of_drawing: float, light: float) -> Colour:
    """Returns a random colour that contrasts with a drawing.

    Args:
        chance: the random numbers.
        of_drawing: the mean brightness of the drawing, from 0 to 1.
        light: how often a light colour is tried, from 0 to 1.
    """
    for _ in range(_TRIES):
        colour = light_colour(chance) if chance.random() < light else any_colour(chance)
        if abs(brightness(colour) - of_drawing) >= CONTRAST:
            return colour
    return (255, 255, 255) if of_drawing < 0.5 else (0, 0, 0)


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
