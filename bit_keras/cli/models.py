"""`bit-keras models`: prints the models, their published checkpoints, and the cached files."""

from absl import flags
from rich.console import Console
from rich.table import Table

from bit_keras.checkpoints import cache
from bit_keras.checkpoints.address import address_of, without_secrets
from bit_keras.checkpoints.catalog import CHECKPOINTS, Checkpoint
from bit_keras.cli.flags import SWITCH, Command
from bit_keras.models.variants import VARIANTS, find_variant, list_checkpoints
from bit_keras.utils.text_table import print_table


def _run(values: flags.FlagValues, name: str | None = None) -> int:
    if values.verify:
        return 1 if print_cache() else 0
    if values.where:
        print_places(name)
    elif name is None:
        print_models()
    else:
        print_model(name)
    return 0


COMMAND = Command(
    "List all models; or one model's published checkpoints, with their sizes and accuracies.",
    (
        (
            SWITCH,
            "verify",
            False,
            "compare each file in the cache with the SHA-256 digest that was recorded when it was "
            "first downloaded",
        ),
        (
            SWITCH,
            "where",
            False,
            "print where each published file comes from and where it belongs on this machine, with "
            "its SHA-256 digest if the file is there",
        ),
    ),
    _run,
    ("MODEL",),
)


def print_models() -> None:
    """Prints a table with a row for each model of the zoo."""
    table = Table("model", "units", "width", "upstream data", "checkpoints")
    table.add_column("parameters without head", justify="right")
    for variant in VARIANTS.values():
        table.add_row(
            variant.name,
            ", ".join(map(str, variant.architecture.depths)),
            str(variant.architecture.width),
            f"{variant.upstream.dataset}, {variant.upstream.classes:,} classes",
            str(len(list_checkpoints(variant.name)) or "never released"),
            f"{variant.architecture.parameters:,}",
        )
    print_table(table)


def print_model(name: str) -> None:
    """Prints one model's architecture, and a table of its published checkpoints.

    Raises:
        ValueError: no model has this name.
    """
    names, variant = list_checkpoints(name), find_variant(name)
    architecture, upstream = variant.architecture, variant.upstream
    Console().print(
        f"{name}: units per block {architecture.depths}, width {architecture.width}, "
        f"{architecture.parameters:,} parameters without the head"
    )
    if upstream is None:
        Console().print(f"{name} is not in the paper, and its weights are not published.")
        return
    Console().print(f"upstream data: {upstream.dataset}, {upstream.classes:,} classes")
    if not names:
        Console().print(f"The weights of {name} were never released.")
        return
    Console().print(f"downloaded from: {without_secrets(address_of(''))}")
    table = Table("pretrained=", "file", "head", "pixels", "ILSVRC-2012 top-1", "cached")
    table.add_column("bytes", justify="right")
    for checkpoint in (CHECKPOINTS[name, checkpoint] for checkpoint in names):
        table.add_row(
            checkpoint.name,
            checkpoint.file,
            f"{checkpoint.head}, {checkpoint.classes:,}",
            str(checkpoint.resolution),
            _accuracy(checkpoint),
            "yes" if cache.cache_path(checkpoint.file).exists() else "",
            f"{'' if checkpoint.size_is_published else '~'}{checkpoint.size:,}",
        )
    print_table(table)
    Console().print(
        "~: a size that was computed from the file format; the other sizes are published."
    )


def print_places(name: str | None) -> None:
    """Prints the address, the path and the digest of each published file, each on its own line.

    Args:
        name: the model whose files are shown; None is all models.

    Raises:
        ValueError: no model has this name.
    """
    if name is not None:
        find_variant(name)
    for checkpoint in CHECKPOINTS.values():
        if name in (None, checkpoint.model):
            path = cache.cache_path(checkpoint.file)
            record = cache.read_record(path) if path.exists() else None
            digest = checkpoint.sha256 or (record.sha256 if record else None)
            print(f"{checkpoint.model} {checkpoint.name}")
            print(f"  from    {without_secrets(address_of(checkpoint.file))}")
            print(f"  to      {path}{'' if path.exists() else ' (not there)'}")
            print(f"  sha256  {digest or 'not known before the file is first used'}")


def print_cache() -> bool:
    """Prints for each cached file whether it has changed; returns True if a file has changed."""
    changed = False
    table = Table("file", "since its first download")
    for path, state in cache.verify():
        table.add_row(str(path), state)
        changed |= state == "changed"
    print_table(table)
    Console().print(f"{table.row_count} files in {cache.cache_directory()}")
    return changed


def _accuracy(checkpoint: Checkpoint) -> str:
    if checkpoint.accuracy is None:
        return ""
    return f"{checkpoint.accuracy} % ({checkpoint.reported_by})"
