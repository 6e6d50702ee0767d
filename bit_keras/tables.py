"""The zoo, a model and the cache as tables on a terminal."""

from rich.console import Console
from rich.table import Table

from bit_keras.checkpoints import cache
from bit_keras.checkpoints.catalog import CHECKPOINTS, Checkpoint
from bit_keras.checkpoints.download import address_of
from bit_keras.zoo import VARIANTS, list_checkpoints


def print_models() -> None:
    """Prints a row for each model."""
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
    _print(table)


def print_model(name: str) -> None:
    """Prints a model and a row for each of its checkpoints.

    Raises:
        ValueError: an unknown model.
    """
    names = list_checkpoints(name)
    variant = VARIANTS[name]
    architecture, upstream = variant.architecture, variant.upstream
    Console().print(
        f"{name}: units {architecture.depths}, width {architecture.width}, "
        f"{architecture.parameters:,} parameters without the head\n"
        f"upstream data: {upstream.dataset}, {upstream.classes:,} classes\n"
        f"base address: {address_of('')}"
    )
    if not names:
        Console().print("Its weights were never released.")
        return
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
    _print(table)
    Console().print("~: computed from the format; the other sizes are published.")


def print_cache() -> bool:
    """Reads every file of the cache, prints whether it is as it first came; True if one is not."""
    changed = False
    table = Table("file", "since its first download")
    for path, state in cache.verify():
        table.add_row(str(path), state)
        changed |= state == "changed"
    _print(table)
    Console().print(f"{table.row_count} in {cache.cache_directory()}")
    return changed


def _accuracy(checkpoint: Checkpoint) -> str:
    if checkpoint.accuracy is None:
        return ""
    return f"{checkpoint.accuracy} % ({checkpoint.reported_by})"


def _print(table: Table) -> None:
    console = Console()
    # A pipe has no width: a table cut to 80 columns would lose names.
    console.print(table, soft_wrap=True) if console.is_terminal else Console(width=200).print(table)
