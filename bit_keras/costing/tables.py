"""Costs on a terminal: of one model item by item, of several a row each."""

from collections.abc import Callable, Mapping
from dataclasses import fields

from rich.console import Console
from rich.table import Table

from bit_keras.costing.cost import Cost
from bit_keras.costing.memory import Memory

_GIB = 2**30

# What a cost says in a word: its name, the number, how it is written. Left out where it is None.
_Row = tuple[str, Callable[[Cost], float | None], str]
_COUNTS: tuple[_Row, ...] = (
    ("pixels", lambda cost: cost.resolution, "{}"),
    ("images a step", lambda cost: cost.batch_size, "{:,}"),
    ("parameters", lambda cost: cost.parameters, "{:,}"),
    ("10^9 multiply-adds an image", lambda cost: cost.multiply_adds / 1e9, "{:,.2f}"),
)
_ITEMS: tuple[_Row, ...] = (
    ("GiB at the peak", lambda cost: cost.peak / _GIB, "{:.2f}"),
    *(
        (f"  {item.name}", lambda cost, of=item.name: getattr(cost.memory, of) / _GIB, "{:.2f}")
        for item in fields(Memory)
    ),
)
_TRAINING: tuple[_Row, ...] = (
    ("GiB, all kept", lambda cost: cost.peak_by_remat[None] / _GIB, "{:.2f}"),
    ("GiB, remat=unit", lambda cost: cost.peak_by_remat["unit"] / _GIB, "{:.2f}"),
    ("GiB, remat=block", lambda cost: cost.peak_by_remat["block"] / _GIB, "{:.2f}"),
    ("largest batch that fits", lambda cost: cost.largest_batch, "{:,}"),
    ("steps", lambda cost: cost.steps, "{:,}"),
    ("10^6 images", lambda cost: cost.images and cost.images / 1e6, "{:,.2f}"),
    ("10^18 FLOP", lambda cost: cost.flops and cost.flops / 1e18, "{:,.4g}"),
    ("hours", lambda cost: cost.hours, "{:,.2f}"),
)


def print_costs(costs: Mapping[str, Cost], title: str) -> None:
    """Prints one cost item by item, several a row each.

    Args:
        costs: by the name of the model.
        title: what they were computed for.
    """
    if len(costs) == 1:
        ((name, cost),) = costs.items()
        table = Table(name, "", title=title, title_justify="left")
        table.columns[1].justify = "right"
        for label, number, form in (*_COUNTS, *_ITEMS, *_TRAINING):
            if number(cost) is not None:
                table.add_row(label, form.format(number(cost)))
    else:
        rows = [
            row
            for row in (*_COUNTS, *_TRAINING)
            if any(row[1](cost) is not None for cost in costs.values())
        ]
        table = Table("model", title=title, title_justify="left")
        for label, _, _ in rows:
            table.add_column(label, justify="right")
        for name, cost in costs.items():
            table.add_row(name, *(form.format(number(cost)) for _, number, form in rows))
    console = Console()
    # A pipe has no width: a table cut to 80 columns would lose names.
    (console if console.is_terminal else Console(width=200)).print(table)
