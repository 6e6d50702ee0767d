"""`bit-keras models`: prints the models, their published checkpoints, and the cached files."""

from absl import flags

from bit_keras.checkpoints import cache
from bit_keras.checkpoints.address import address_of, shown_address
from bit_keras.checkpoints.catalog import CHECKPOINTS, Checkpoint
from bit_keras.cli.flags import SWITCH, Command
from bit_keras.models.variants import VARIANTS, find_variant, list_checkpoints
from bit_keras.utils.printable import print_text
from bit_keras.utils.text_table import TextTable

_PARAMETERS = "parameters without head"


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
    rows = tuple(
        (
            variant.name,
            ", ".join(map(str, variant.architecture.depths)),
            str(variant.architecture.width),
            f"{variant.upstream.dataset}, {variant.upstream.classes:,} classes",
            str(len(list_checkpoints(variant.name)) or "never released"),
            f"{variant.architecture.parameters:,}",
        )
        for variant in VARIANTS.values()
    )
    columns = ("model", "units", "width", "upstream data", "checkpoints", _PARAMETERS)
    TextTable("", columns, rows, right=(_PARAMETERS,)).print()


def print_model(name: str) -> None:
    """Prints one model's architecture, and a table of its published checkpoints.

    Raises:
        ValueError: no model has this name.
    """
    names, variant = list_checkpoints(name), find_variant(name)
    architecture, upstream = variant.architecture, variant.upstream
    print(
        f"{name}: units per block {architecture.depths}, width {architecture.width}, "
        f"{architecture.parameters:,} parameters without the head"
    )
    if upstream is None:
        print(f"{name} is not in the paper, and its weights are not published.")
        return
    print(f"upstream data: {upstream.dataset}, {upstream.classes:,} classes")
    if not names:
        print(f"The weights of {name} were never released.")
        return
    print_text(f"downloaded from: {shown_address(address_of(''))}")
    checkpoints = (CHECKPOINTS[name, checkpoint] for checkpoint in names)
    rows = tuple(
        (
            checkpoint.name,
            checkpoint.file,
            f"{checkpoint.head}, {checkpoint.classes:,}",
            str(checkpoint.resolution),
            _accuracy(checkpoint),
            "yes" if cache.cache_path(checkpoint.file).exists() else "",
            f"{'' if checkpoint.size_is_published else '~'}{checkpoint.size:,}",
        )
        for checkpoint in checkpoints
    )
    columns = ("pretrained=", "file", "head", "pixels", "ILSVRC-2012 top-1", "cached", "bytes")
    TextTable("", columns, rows, right=("bytes",)).print()
    print("~: a size that was computed from the file format; the other sizes are published.")


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
            digest = record.sha256 if record else "not known before the file is first used"
            print(f"{checkpoint.model} {checkpoint.name}")
            print(f"  from    {shown_address(address_of(checkpoint.file))}")
            print(f"  to      {path}{'' if path.exists() else ' (not there)'}")
            print(f"  sha256  {digest}")


def print_cache() -> bool:
    """Prints for each cached file whether it has changed; returns True if a file has changed."""
    rows = tuple((str(path), state) for path, state in cache.verify())
    TextTable("", ("file", "since its first download"), rows).print()
    print_text(f"{len(rows)} files in {cache.cache_directory()}")
    return any(state == "changed" for _, state in rows)


def _accuracy(checkpoint: Checkpoint) -> str:
    if checkpoint.accuracy is None:
        return ""
    return f"{checkpoint.accuracy} % ({checkpoint.reported_by})"
