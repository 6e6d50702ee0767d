"""A TFDS dataset on this machine: found by its name, prepared once, its splits counted."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING

from absl import logging

from bit_keras.nearest_name import nearest_name

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder


def prepared(
    task: str,
    name: str,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
) -> DatasetBuilder:
    """Returns the builder of a TFDS dataset, downloaded and prepared if it was not yet.

    Args:
        task: the task that asks for it, for messages.
        name: as TFDS writes it: `NAME`, `NAME/CONFIG`, `NAME:3.*.*` or `NAME/CONFIG:3.*.*`.
        data_dir: where TFDS keeps its datasets; None is `~/tensorflow_datasets`.
        manual_dir: where files lie that TFDS cannot download; None is `downloads/manual` in
            `data_dir`.

    Raises:
        ValueError: TFDS has no such dataset, configuration or version.
        OSError: it is not prepared and cannot be: no network, or files are missing that only a
            person can download. The message says which, and where to put them.
    """
    builder = _find(task, name, data_dir)
    if not builder.info.splits:  # they are known from the files of a prepared dataset alone
        _check_manual_files(task, builder, manual_dir)
        _prepare(task, name, builder, manual_dir)
    return builder


def count_examples(task: str, builder: DatasetBuilder, split: str) -> int:
    """Returns how many examples a split or a slice of it has, such as `train[:80%]`.

    Args:
        task: the task that asks for it, for messages.
        builder: of a prepared dataset.
        split: as TFDS writes it.

    Raises:
        ValueError: there is no such split, or nothing in it.
    """
    splits = builder.info.splits
    listing = ", ".join(f"{name} ({info.num_examples})" for name, info in splits.items())
    listing = f"{builder.info.full_name} has {listing}"
    try:
        count = splits[split].num_examples
    except (ValueError, KeyError) as error:
        nearest = nearest_name(re.split(r"[\[+]", split)[0], splits)
        raise ValueError(
            f"Task {task!r}: the split {split!r} cannot be read: {error}\n{listing} examples. "
            f"Write one of these, or a slice of one: {nearest!r}, '{nearest}[:80%]'."
        ) from error
    if not count:
        raise ValueError(
            f"Task {task!r}: the split {split!r} is empty, expected at least one example. "
            f"{listing} examples. Name another split, or a larger slice."
        )
    return count


def check_disjoint(task: str, builder: DatasetBuilder, train: str, test: str) -> None:
    """Raises a ValueError if the training and the test split share examples."""
    shared = sum(
        len(range(max(one.start, other.start), min(one.stop, other.stop)))
        for name, one in _ranges(builder, train)
        for other_name, other in _ranges(builder, test)
        if name == other_name
    )
    if shared:
        raise ValueError(
            f"Task {task!r}: train_split={train!r} and test_split={test!r} share {shared} "
            "examples, expected none: an accuracy on training images says nothing. Give both, "
            "such as train_split='train[:80%]' and test_split='train[80%:]'."
        )


def _ranges(builder: DatasetBuilder, split: str) -> list[tuple[str, range]]:
    """Returns the whole splits that a split is made of, each with its positions in it."""
    from tensorflow_datasets.core import ReadInstruction

    splits = builder.info.splits
    return [
        (part.splitname, range(splits[part.splitname].num_examples)[part.from_ : part.to])
        for part in ReadInstruction.from_spec(split).to_absolute(dict(splits))
    ]


def _find(task: str, name: str, data_dir: str | os.PathLike | None) -> DatasetBuilder:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        dataset = re.split("[/:]", name)[0]
        known = tfds.list_builders(with_community_datasets=False)
        raise ValueError(
            f"Task {task!r}: TFDS has no dataset {dataset!r}. Did you mean "
            f"{nearest_name(dataset, known)!r}? A dataset of your own is found by its name if it "
            "is prepared in data_dir."
        ) from None
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"Task {task!r}: TFDS cannot make {name!r}: expected NAME or NAME/CONFIG, with or "
            f"without a version such as ':3.*.*'.{_configurations(name)} Correct what TFDS names: "
            f"{error}"
        ) from error


def _configurations(name: str) -> str:
    import tensorflow_datasets as tfds

    dataset = re.split("[/:]", name)[0]
    configurations = tfds.builder_cls(dataset).builder_configs
    return f" Its configurations: {', '.join(configurations)}." if configurations else ""


def _check_manual_files(task: str, builder: DatasetBuilder, manual_dir) -> None:
    import tensorflow_datasets as tfds

    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if not instructions:
        return
    folder = tfds.core.Path(manual_dir or builder.data_dir_root / "downloads" / "manual")
    folder = folder.expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        return
    raise FileNotFoundError(
        f"Task {task!r} needs files that TFDS cannot download: expected them in {folder}, which "
        "is empty or does not exist. Put them there, or give another manual_dir. TFDS says of "
        f"them:\n{textwrap.dedent(instructions).strip()}"
    )


def _prepare(task: str, name: str, builder: DatasetBuilder, manual_dir) -> None:
    import tensorflow_datasets as tfds

    logging.warning(
        "Task %s: %s is downloaded and prepared in %s, once.",
        task,
        builder.info.full_name,
        builder.data_path,
    )
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    try:
        builder.download_and_prepare(download_config=config)
    # Whatever a builder's own code, its server or a missing package raises: the way out is one.
    except Exception as error:
        manual = builder.MANUAL_DOWNLOAD_INSTRUCTIONS or ""
        raise OSError(
            f"Task {task!r}: {builder.info.full_name} is not prepared in {builder.data_path}, and "
            f"preparing it failed: {type(error).__name__}: {error}\nWithout a network, prepare it "
            f"elsewhere with tensorflow_datasets.builder({name!r}).download_and_prepare() and copy "
            "the result here, or give the data_dir that holds it."
            + textwrap.indent(textwrap.dedent(manual).rstrip(), "  ", lambda _: True)
        ) from error
