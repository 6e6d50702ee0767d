"""Builds Big Transfer's models by name: BiT-{S,M,L}-{R50x1,R101x1,R50x3,R101x3,R152x2,R152x4}."""

import contextlib
import gc
import inspect
import os
from collections.abc import Callable, Iterator

from bit_keras.checkpoints.cache import forget
from bit_keras.checkpoints.catalog import CHECKPOINTS, Checkpoint
from bit_keras.checkpoints.errors import CheckpointError
from bit_keras.checkpoints.npz import Contents, load_npz, read_contents
from bit_keras.checkpoints.other_formats import description_of
from bit_keras.layers.tracing import weights_to_come
from bit_keras.models.argument_checks import check_classes, check_input_shape
from bit_keras.models.resnet import ResNetV2
from bit_keras.models.variants import VARIANTS, Variant, find_variant
from bit_keras.utils.nearest_name import nearest_name


def create(
    model: str,
    pretrained: bool | str | os.PathLike = False,
    include_top: bool = True,
    classes: int | None = None,
    input_shape=(None, None, 3),
    input_tensor=None,
    pooling: str | None = "avg",
    classifier_activation=None,
    kernel_regularizer=None,
    dtype=None,
    name: str | None = None,
) -> ResNetV2:
    """Builds a model by its name, such as "BiT-M-R50x1".

    Args:
        model: a name from `list_models()`, such as "BiT-M-R50x1"; or "R14x0.5", a small network
            of depths 1, 1, 1, 1 and width 0.5, for which no weights are published.
        pretrained: False for random weights; True for the upstream checkpoint; a name from
            `list_checkpoints(model)`, such as "ilsvrc2012", for another published one, which is
            downloaded once; or the path of an official npz file.
        include_top: if True, the model ends in the head and returns logits; if False, it returns
            features, and the checkpoint's head is ignored.
        classes: None for the upstream head or, with weights, the checkpoint's own; a number for a
            new head of zeros. R14x0.5 has 1000 classes by default.
        input_shape: `(height, width, channels)`, channels_last; height and width may be None.
            Pretrained weights need 3 channels.
        input_tensor: a `keras.Input`, or a tensor computed from one, to build on instead.
        pooling: type of the features if include_top is False: "avg" gives `[batch, features]`,
            None gives the feature map `[batch, height / 32, width / 32, features]`.
        classifier_activation: activation of the head; None gives logits, which are float32 under
            every policy.
        kernel_regularizer: regularizer of all kernels, including the head's.
        dtype: a Keras dtype policy, such as "mixed_bfloat16".
        name: name of the model; by default, it is made from the variant's name.

    Returns:
        A `bit_keras.ResNetV2`. It takes RGB in [-1, 1] (`bit_keras.preprocess_input`).

    Raises:
        ValueError: the model is unknown, or an argument is out of its range.
        FileNotFoundError: there is no file at the path.
        DownloadError: the checkpoint is not on this machine and cannot be downloaded.
        CheckpointError: the checkpoint does not fit the model, or is damaged.

    Example:

    >>> model = create("BiT-M-R50x1", include_top=False)
    >>> import keras
    >>> model(keras.ops.zeros((1, 64, 64, 3))).shape
    TensorShape([1, 2048])
    """
    variant = find_variant(model)
    _check_include_top(include_top)
    if classes is not None:
        check_classes(classes)
    if pretrained is not False:
        _check_channels(input_shape if input_tensor is None else input_tensor.shape[1:])
    checkpoint, published = _local_path(variant, pretrained)
    with _no_collection(), _discarding(checkpoint) if published else contextlib.nullcontext():
        head = "match"
        if checkpoint is not None:
            contents = read_contents(checkpoint)
            head, classes = _choose_head(contents, classes, include_top, checkpoint)
        with contextlib.nullcontext() if checkpoint is None else weights_to_come.on():
            network = ResNetV2(
                depths=variant.architecture.depths,
                width=variant.architecture.width,
                classes=variant.classes if classes is None else classes,
                include_top=include_top,
                input_shape=input_shape,
                input_tensor=input_tensor,
                pooling=pooling,
                classifier_activation=classifier_activation,
                kernel_regularizer=kernel_regularizer,
                dtype=dtype,
                name=name or variant.name.lower().replace("-", "_").replace(".", "_"),
            )
        if checkpoint is not None:
            load_npz(network, checkpoint, head=head)
    return network


def check_weights(model: str, pretrained: bool | str | os.PathLike) -> None:
    """Downloads published weights, or checks the user's own file, before a model is built.

    Args:
        model: a name that `create` takes.
        pretrained: as for `create`.

    Raises:
        ValueError, FileNotFoundError, DownloadError, CheckpointError: `create` would raise this
            error later.
    """
    checkpoint, published = _local_path(find_variant(model), pretrained)
    if checkpoint is not None and not published:
        read_contents(checkpoint)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Turns Python's garbage collector off inside a `with` block, because building is then faster.

    Building a network makes thousands of objects that all stay alive. The collector would look
    through all objects of TensorFlow again and again and find nothing to free.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _local_path(variant: Variant, pretrained) -> tuple[str | os.PathLike | None, bool]:
    """Returns the path of a model's weights or None, and whether the weights are published."""
    if pretrained is False:
        return None, False
    if pretrained is None:
        raise ValueError(
            "pretrained=None: expected False for random weights, or True for the upstream weights."
        )
    if not isinstance(pretrained, bool | str | os.PathLike) or pretrained == "":
        raise ValueError(
            f"pretrained={pretrained!r}: expected False for random weights, True for the upstream "
            "weights, the name of another checkpoint, or the path of an npz file."
        )
    names = {name for _, name in CHECKPOINTS}
    if pretrained is True or pretrained in names:
        checkpoint = _published(variant, "upstream" if pretrained is True else pretrained)
        return _download(checkpoint), True
    # The weight file is not checked here: reading a missing or damaged file raises an error later.
    is_path = str(pretrained).endswith(".npz") or description_of(pretrained) is not None
    if is_path or os.path.exists(os.path.expanduser(pretrained)):
        return pretrained, False
    raise FileNotFoundError(
        f"pretrained={str(pretrained)!r} is neither a file nor the name of a checkpoint; the "
        f"nearest name is {_nearest_checkpoint(pretrained, variant)!r}. "
        f"bit_keras.list_checkpoints({variant.name!r}) lists the checkpoints of {variant.name}."
    )


def _nearest_checkpoint(name, variant: Variant) -> str:
    # Users of keras.applications know the weights of ILSVRC-2012 as "imagenet".
    if name == "imagenet":
        return "ilsvrc2012" if (variant.name, "ilsvrc2012") in CHECKPOINTS else "upstream"
    return nearest_name(name, sorted({other for _, other in CHECKPOINTS}))


def _published(variant: Variant, name: str) -> Checkpoint:
    if variant.upstream is None:
        raise ValueError(
            f"There are no published weights of {variant.name}. Pass pretrained=False for random "
            "weights, or the path of an npz file as pretrained=."
        )
    if not variant.upstream.released:
        raise ValueError(
            f"There are no published weights of {variant.name}, because Google never released the "
            f"models trained on {variant.upstream.dataset}. Use "
            f"{variant.name.replace('-L-', '-M-')}, or pass the path of an npz file as pretrained=."
        )
    if (variant.name, name) not in CHECKPOINTS:
        owners = [owner for owner, other in CHECKPOINTS if other == name]
        raise ValueError(
            f"{variant.name} has no published checkpoint {name!r}; the models that have it are "
            f"{', '.join(owners)}. bit_keras.list_checkpoints({variant.name!r}) lists the "
            f"checkpoints of {variant.name}."
        )
    return CHECKPOINTS[variant.name, name]


def _download(checkpoint: Checkpoint) -> os.PathLike:
    # The import is inside the function, because weights from a local file need no library for
    # downloads.
    from bit_keras.checkpoints.download import local_checkpoint

    return local_checkpoint(checkpoint)


@contextlib.contextmanager
def _discarding(path: os.PathLike) -> Iterator[None]:
    """Renames a downloaded weight file if loading it in the `with` block raises CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} The file was downloaded as a published checkpoint. It was renamed to "
            f"{forget(path)}, and the next call downloads it again."
        ) from error


def _check_include_top(include_top) -> None:
    if include_top not in (True, False):
        raise ValueError(
            f"include_top={include_top!r}: expected True or False. Pass the arguments by name, "
            "because their order is pretrained, include_top, classes."
        )


def _check_channels(input_shape) -> None:
    check_input_shape(input_shape)
    if input_shape[-1] != 3:
        raise ValueError(
            f"input_shape={tuple(input_shape)} has {input_shape[-1]} channels, but pretrained "
            "weights take 3 (RGB). Convert the images to RGB, or pass pretrained=False."
        )


def _choose_head(contents: Contents, classes, include_top, checkpoint) -> tuple[str, int | None]:
    """Returns "match" to load the checkpoint's head or "reset" for a new one, and the classes."""
    if classes is not None or not include_top:
        return "reset", classes
    if contents.classes is None:
        raise CheckpointError(
            f"{checkpoint} has no head. Pass classes= for a new head, or include_top=False."
        )
    return "match", contents.classes


def _answer_to(arguments) -> str:
    if "weights" not in arguments:
        return ""
    return (
        ": the weights= of keras.applications is called pretrained= here; it is False for random "
        "weights, True for the upstream checkpoint, or the name or path of a checkpoint"
    )


def _constructor(variant: Variant) -> Callable[..., ResNetV2]:
    """Returns a function, such as `BiT_M_R50x1`, that builds the given variant by `create`."""

    def constructor(*args, **kwargs):
        try:
            bound = constructor.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{function_name}() {error}{_answer_to(kwargs)}") from None
        return create(variant.name, *bound.args, **bound.kwargs)

    arch, upstream = variant.architecture, variant.upstream
    signature = inspect.signature(create)
    _, *parameters = signature.parameters.values()
    arguments = inspect.cleandoc(create.__doc__).split("Args:\n")[1].split("\n    pretrained:")[1]
    function_name = variant.name.replace("-", "_")
    released = "" if upstream.released else "\nIts weights were never released.\n"
    constructor.__name__ = constructor.__qualname__ = function_name
    constructor.__signature__ = signature.replace(parameters=parameters)
    constructor.__doc__ = f"""Builds {variant.name}, a ResNet-v2 with GN and WS (arXiv 1912.11370).

Upstream data: {upstream.dataset}, {upstream.classes} classes.
Units {arch.depths}, width {arch.width}, {arch.parameters:,} parameters without the head.
{released}
Args:
    pretrained:{arguments.split("Example:")[0]}Example:

```python
model = bit_keras.{function_name}(classes=10, input_shape=(128, 128, 3))
```
"""
    return constructor


CONSTRUCTORS = {name.replace("-", "_"): _constructor(v) for name, v in VARIANTS.items()}
