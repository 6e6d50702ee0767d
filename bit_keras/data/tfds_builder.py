"""Finds a dataset of TFDS by its name, prepares it at its first use, and checks its splits."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import TYPE_CHECKING

from absl import logging

from bit_keras.checkpoints.download import is_offline
from bit_keras.checkpoints.errors import DownloadError
from bit_keras.checkpoints.reachable import problem_of_connection
from bit_keras.utils.nearest_name import nearest_name

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder


def prepared(
    task: str,
    name: str,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
) -> DatasetBuilder:
    """Returns the builder of a TFDS dataset; downloads and prepares the dataset at its first use.

    Args:
        task: name of the task, for messages.
        name: the name in TFDS: `NAME`, `NAME/CONFIG`, `NAME:3.*.*` or `NAME/CONFIG:3.*.*`.
        data_dir: where TFDS keeps its datasets; None is `~/tensorflow_datasets`.
        manual_dir: where the files are that TFDS cannot download; None is `downloads/manual` in
            `data_dir`.

    Raises:
        ValueError: the name is empty, or TFDS has no such dataset, configuration or version.
        OSError: the dataset is not prepared and cannot be prepared, because there is no network, or
            because files are missing that TFDS cannot download. The message says which files, and
            where to put them.
    """
    if not name:
        raise ValueError(
            f"The task {task!r} has no name of a dataset. Write it after the colon, such as "
            f"{task + 'beans'!r}."
        )
    # TFDS does not replace `~` by the home directory, but takes it for the name of a folder.
    data_dir, manual_dir = (path and os.path.expanduser(path) for path in (data_dir, manual_dir))
    builder = _find(task, name, data_dir)
    # A TFDS builder has no splits until its dataset is prepared.
    if not builder.info.splits:
        _check_manual_files(task, builder, manual_dir)
        _check_network(task, name, builder)
        _prepare(task, name, builder, manual_dir)
    return builder


def count_examples(task: str, builder: DatasetBuilder, split: str) -> int:
    """Returns the number of examples in a split or in a slice of one, such as `train[:80%]`.

    Args:
        task: name of the task, for messages.
        builder: the builder of a prepared dataset.
        split: the split, in the syntax of TFDS.

    Raises:
        ValueError: there is no such split, or it is empty.
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
            f"Name one of these splits or a slice of one, such as {nearest!r} or '{nearest}[:80%]'."
        ) from error
    if not count:
        raise ValueError(
            f"Task {task!r}: the split {split!r} is empty; expected at least one example. "
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
            "examples; expected none, because the accuracy on training images means nothing. Give "
            "both, such as train_split='train[:80%]' and test_split='train[80%:]'."
        )


def _ranges(builder: DatasetBuilder, split: str) -> list[tuple[str, range]]:
    """Returns the splits in a text such as "train[:80%]+test", each with its range of positions."""
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
            f"{nearest_name(dataset, known)!r}? Your own dataset is found by its name if it is "
            "prepared in data_dir (--data_dir)."
        ) from None
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"Task {task!r}: TFDS cannot find {name!r}. Expected NAME or NAME/CONFIG, with or "
            f"without a version such as ':3.*.*'.{_configurations(name)} Correct the name. TFDS "
            f"says: {error}"
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
        f"Task {task!r} needs files that TFDS cannot download. Expected them in {folder}, which "
        "is empty or does not exist. Put the files there, or give another manual_dir "
        f"(--manual_dir). TFDS says about them:\n{textwrap.dedent(instructions).strip()}"
    )


def _check_network(task: str, name: str, builder: DatasetBuilder) -> None:
    """Raises a DownloadError if the files of a dataset cannot be downloaded.

    TFDS itself would try for minutes to reach a server that cannot be reached.
    """
    address = next((url for url in builder.url_infos if url.startswith("http")), None)
    downloads = builder.data_dir_root / "downloads"
    is_downloaded = downloads.is_dir() and any(
        file.is_file() and file.suffix != ".INFO" for file in downloads.iterdir()
    )
    if address is None or builder.MANUAL_DOWNLOAD_INSTRUCTIONS or is_downloaded:
        return
    if is_offline():
        problem = "BIT_KERAS_OFFLINE=1 forbids downloading it"
    else:
        problem = problem_of_connection(address)
    if problem:
        raise DownloadError(
            f"Task {task!r}: {builder.info.full_name} is not prepared in {builder.data_path}, and "
            f"{problem}. {_elsewhere(name)}"
        )


def _elsewhere(name: str) -> str:
    return (
        f"Without a network, prepare it elsewhere with tensorflow_datasets.builder({name!r})"
        ".download_and_prepare() and copy the result here, or give the folder that holds it as "
        "data_dir (--data_dir)."
    )


def _prepare(task: str, name: str, builder: DatasetBuilder, manual_dir) -> None:
    import tensorflow_datasets as tfds

    logging.warning(
        "Task %s: %s is downloaded and prepared in %s; this happens once.",
        task,
        builder.info.full_name,
        builder.data_path,
    )
    if not sys.stderr.isatty():
        # Elsewhere than on a terminal, each state of a bar would be a line.
        tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    try:
        builder.download_and_prepare(download_config=config)
    # The dataset's code, its server or a missing package may raise any exception, so all are
    # caught. The advice to the user is the same for all.
    except Exception as error:
        manual = builder.MANUAL_DOWNLOAD_INSTRUCTIONS or ""
        raise OSError(
            f"Task {task!r}: {builder.info.full_name} is not prepared in {builder.data_path}, and "
            f"preparing it failed: {type(error).__name__}: {error}\n{_elsewhere(name)}"
            + textwrap.indent(textwrap.dedent(manual).rstrip(), "  ", lambda _: True)
        ) from error
