"""The layers of a BiT network and the sizes of their tensors for one square image.

The sizes are computed without building the network, so that a network of 937 million parameters
needs no memory. `tests/costing/test_shapes.py` compares them with the layers of built networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bit_keras.models.resnet import BLOCK_STRIDES, EXPANSION, ROOT_FILTERS


@dataclass(frozen=True)
class Convolution:
    """The kernel size, channels and output size of a convolution without bias.

    Attributes:
        size: height and width of the kernel.
        channels: channels of the input.
        filters: channels of the output.
        side: height and width of the output.
    """

    size: int
    channels: int
    filters: int
    side: int

    @property
    def parameters(self) -> int:
        """Number of weights in the kernel of the convolution."""
        return self.size**2 * self.channels * self.filters

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds for one image, including products with zeros of the padding."""
        return self.parameters * self.side**2


@dataclass(frozen=True)
class Preactivation:
    """The sizes of a group normalization with ReLU in front of a convolution.

    Attributes:
        channels: channels of its input and output.
        side: height and width of its input and output.
        padded_elements: number of elements of the padded copy of its output that the convolution
            takes; 0 if the convolution takes the output itself.
    """

    channels: int
    side: int
    padded_elements: int = 0

    @property
    def elements(self) -> int:
        """Number of elements in the output of the group normalization with ReLU."""
        return self.channels * self.side**2


@dataclass(frozen=True)
class Unit:
    """The layers of a residual unit and the sizes of its tensors.

    Attributes:
        preactivations: the normalizations a, b and c.
        convolutions: the projection of the shortcut, if there is one, and then a, b and c.
        inputs: number of elements of the unit's input.
        outputs: number of elements of the unit's output.
    """

    preactivations: tuple[Preactivation, ...]
    convolutions: tuple[Convolution, ...]
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Network:
    """The layers of a whole network and the sizes of its tensors.

    Attributes:
        images: number of elements of the padded image, which is the input of the root.
        pool_inputs: number of elements of the padded input of the max-pool.
        root: the first convolution.
        blocks: the units of each block.
        end: the last normalization.
        classes: number of classes of the head; 0 without a head.
    """

    images: int
    pool_inputs: int
    root: Convolution
    blocks: tuple[tuple[Unit, ...], ...]
    end: Preactivation
    classes: int

    @property
    def units(self) -> tuple[Unit, ...]:
        """The residual units of all blocks, in order."""
        return tuple(unit for block in self.blocks for unit in block)

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """All convolutions of the network, from the first to the last."""
        return (self.root, *(layer for unit in self.units for layer in unit.convolutions))

    @property
    def body_parameters(self) -> int:
        """Number of parameters of the network without its head."""
        norms = [*(norm for unit in self.units for norm in unit.preactivations), self.end]
        kernels = sum(layer.parameters for layer in self.convolutions)
        # A group normalization has two parameters for each channel, gamma and beta.
        return kernels + sum(2 * norm.channels for norm in norms)

    @property
    def parameters(self) -> int:
        """Number of parameters of the network with its head."""
        # The head has one weight for each channel and class, and one bias for each class.
        return self.body_parameters + (self.end.channels + 1) * self.classes

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds of a forward pass, in the convolutions and the head."""
        body = sum(layer.multiply_adds for layer in self.convolutions)
        return body + self.end.channels * self.classes


def network(
    depths: Sequence[int], width: float, resolution: int, classes: int, image_channels: int = 3
) -> Network:
    """Returns the layers of a `bit_keras.ResNetV2` and the sizes of its tensors.

    Args:
        depths: number of units in each of the four blocks.
        width: factor of the number of channels.
        resolution: height and width of the image in pixels.
        classes: number of classes of the head; 0 without a head.
        image_channels: channels of the image.
    """
    filters = int(ROOT_FILTERS * width)
    side = _halved(resolution)
    root = Convolution(7, image_channels, filters, side)
    images, pool_inputs = image_channels * (resolution + 6) ** 2, filters * (side + 2) ** 2
    side, channels = _halved(side), filters
    blocks = []
    for block, (depth, stride) in enumerate(zip(depths, BLOCK_STRIDES, strict=True)):
        units = []
        for number in range(depth):
            strides = stride if number == 0 else 1
            unit = _unit(channels, filters * 2**block, side, strides)
            side, channels = unit.convolutions[-1].side, unit.convolutions[-1].filters
            units.append(unit)
        blocks.append(tuple(units))
    end = Preactivation(channels, side)
    return Network(images, pool_inputs, root, tuple(blocks), end, classes)


def _unit(channels: int, filters: int, side: int, stride: int) -> Unit:
    small = _halved(side) if stride > 1 else side
    wide = EXPANSION * filters
    has_projection = stride > 1 or channels != wide
    projection = (Convolution(1, channels, wide, small),) if has_projection else ()
    return Unit(
        preactivations=(
            Preactivation(channels, side),
            Preactivation(filters, side, filters * (side + 2) ** 2 if stride > 1 else 0),
            Preactivation(filters, small),
        ),
        convolutions=(
            *projection,
            Convolution(1, channels, filters, side),
            Convolution(3, filters, filters, small),
            Convolution(1, filters, wide, small),
        ),
        inputs=channels * side**2,
        outputs=wide * small**2,
    )


def _halved(side: int) -> int:
    # A stride of 2 gives half the height and width, rounded up, for 7x7 kernels with padding 3, 3x3
    # kernels with padding 1, and 1x1 kernels.
    return -(-side // 2)
