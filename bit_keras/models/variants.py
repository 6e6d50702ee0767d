"""Tables of the models' names, architectures and training data; this module imports no Keras.

The command line checks names here before it imports Keras, which takes seconds.
"""

from collections import ChainMap
from dataclasses import dataclass

from bit_keras.checkpoints.catalog import CHECKPOINTS
from bit_keras.utils.nearest_name import unknown_name


@dataclass(frozen=True)
class Architecture:
    """The depth and width of a network (arXiv 1912.11370, section 3.1)."""

    depths: tuple[int, int, int, int]
    width: float
    # The number of the network's parameters without those of the classification head.
    parameters: int


@dataclass(frozen=True)
class Upstream:
    """The data set that a family of models was trained on (arXiv 1912.11370, section 3.1)."""

    dataset: str
    classes: int
    released: bool


@dataclass(frozen=True)
class Variant:
    """A model that can be built by its name: the name, the architecture and the training data.

    Attributes:
        name: its name for `create`.
        architecture: its depth and width.
        upstream: what Big Transfer trained it on; None for a network that is not in the paper.
    """

    name: str
    architecture: Architecture
    upstream: Upstream | None

    @property
    def classes(self) -> int:
        """The default number of classes: that of the training data, or 1000 if there is none."""
        return 1_000 if self.upstream is None else self.upstream.classes


ARCHITECTURES = {
    "R50x1": Architecture((3, 4, 6, 3), 1, 23_500_352),
    "R101x1": Architecture((3, 4, 23, 3), 1, 42_492_480),
    "R50x3": Architecture((3, 4, 6, 3), 3, 211_174_080),
    "R101x3": Architecture((3, 4, 23, 3), 3, 381_789_888),
    "R152x2": Architecture((3, 8, 36, 3), 2, 232_238_208),
    "R152x4": Architecture((3, 8, 36, 3), 4, 928_340_224),
}

UPSTREAMS = {
    "S": Upstream("ILSVRC-2012 (1.28 million images)", 1_000, released=True),
    "M": Upstream("ImageNet-21k (14.2 million images)", 21_843, released=True),
    "L": Upstream("JFT-300M (300 million images)", 18_291, released=False),
}

VARIANTS = {
    f"BiT-{family}-{arch}": Variant(f"BiT-{family}-{arch}", architecture, upstream)
    for family, upstream in UPSTREAMS.items()
    for arch, architecture in ARCHITECTURES.items()
}

# The smallest network, for a first try. It has one unit of three convolutions in each of the four
# blocks, the root and the head: 14 layers, as the paper counts them.
SMALL = "R14x0.5"

# Maps the names of all networks to their descriptions. `list_models` leaves out networks that are
# not in the paper.
NETWORKS = ChainMap(
    VARIANTS, {SMALL: Variant(SMALL, Architecture((1, 1, 1, 1), 0.5, 2_007_328), upstream=None)}
)


def list_models() -> list[str]:
    """Returns the names of the paper's models, each of which `create` can build.

    Example:

    >>> list_models()[:2]
    ['BiT-S-R50x1', 'BiT-S-R101x1']
    """
    return list(VARIANTS)


def list_checkpoints(model: str) -> list[str]:
    """Returns the names of a model's published checkpoints, for the argument `pretrained`.

    Args:
        model: a name from `list_models()`; a model that was never released has no checkpoints.

    Raises:
        ValueError: an unknown model.

    Example:

    >>> list_checkpoints("BiT-M-R50x1")[:3]
    ['upstream', 'ilsvrc2012', 'distilled-224']
    """
    find_variant(model)
    return [name for owner, name in CHECKPOINTS if owner == model]


def find_variant(model: str) -> Variant:
    """Returns the description of the model with a name such as "BiT-M-R50x1" or "R14x0.5".

    Raises:
        ValueError: no variant has this name; the message gives the nearest one.
    """
    if model not in NETWORKS:
        raise unknown_name("model", model, NETWORKS)
    return NETWORKS[model]
