"""The names of a trained model's classes: from its run, its task or the published lists."""

from __future__ import annotations

from bit_keras.data.tasks import task as task_of_name
from bit_keras.models.preprocessing import class_names
from bit_keras.models.task_record import TaskRecord, digest_of_names


def names_of_run(record: TaskRecord) -> tuple[str, ...]:
    """Returns the names of the classes of a run.

    A run of an earlier version kept a digest of the names only. The names are then those of its
    task as it is today, if they still have this digest.

    Raises:
        ValueError, OSError, ImportError: the names are not known; the message says why.
    """
    if record.class_names is not None:
        return record.class_names
    names = tuple(task_of_name(record.name, **record.options).class_names)
    if record.names_sha256 not in (None, digest_of_names(names)):
        raise ValueError(
            f"the run was made by an earlier version, which did not keep the names, and the "
            f"classes of its task {record.name!r} have changed since"
        )
    return names


def wordnet_ids(classes: int | None) -> tuple[str, ...] | None:
    """Returns the WordNet ids of the classes of a published upstream checkpoint.

    Args:
        classes: the number of classes; None if it is not known.

    Returns:
        The ids; None if a checkpoint with this number of classes has others, or if the ids are not
        on this machine and cannot be fetched.
    """
    try:
        return None if classes is None else tuple(class_names(classes)[0])
    except (ValueError, OSError):
        return None
