"""What normalization_and_batch_size.py measured, as a table and as a picture."""

import numpy as np
from matplotlib.figure import Figure


def columns(runs):
    """Returns what was measured, by title, as a function of a run."""
    shots = runs[0]["target accuracy"]
    return {
        "classes of the pre-training": lambda run: run["source accuracy"],
        **{
            f"other classes, {count} images each": lambda run, n=count: run["target accuracy"][n]
            for count in shots
        },
    }


def networks_of(runs):
    return list(dict.fromkeys(run["network"] for run in runs))


def starts_of(runs):
    return list(dict.fromkeys(run["pre-training"] for run in runs))


def values(runs, network, start, measure):
    """Returns the percentages of all seeds, or an empty list if none was measured."""
    chosen = [run for run in runs if (run["network"], run["pre-training"]) == (network, start)]
    return [100 * measure(run) for run in chosen if measure(run) is not None]


def table(runs):
    """Returns a table in Markdown: mean and standard deviation over the seeds, in percent."""
    measures = columns(runs)
    lines = [
        "| network | pre-training | " + " | ".join(measures) + " |",
        "|---" * (2 + len(measures)) + "|",
    ]
    for network in networks_of(runs):
        for start in starts_of(runs):
            cells = []
            for measure in measures.values():
                percent = values(runs, network, start, measure)
                deviation = np.std(percent, ddof=1) if len(percent) > 1 else 0.0
                cells.append(f"{np.mean(percent):.1f} ± {deviation:.1f}" if percent else "-")
            lines.append(f"| {network} | {start} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def picture(runs):
    """Returns a figure with a point for each seed and a dash at their mean."""
    networks = networks_of(runs)
    measures = columns(runs)
    figure = Figure(figsize=(4 * len(measures), 4.4), layout="constrained")
    figure.suptitle("Fashion-MNIST: a point for each seed, a dash at their mean")
    panels = figure.subplots(1, len(measures))
    colours = dict(zip(starts_of(runs), ("tab:gray", "tab:blue", "tab:orange"), strict=True))
    for axes, (title, measure) in zip(panels, measures.items(), strict=True):
        for offset, (start, colour) in zip((-0.25, 0, 0.25), colours.items(), strict=True):
            for x, network in enumerate(networks):
                percent = values(runs, network, start, measure)
                if percent:
                    place = [x + offset] * len(percent)
                    axes.scatter(place, percent, s=14, alpha=0.6, color=colour)
                    axes.scatter(x + offset, np.mean(percent), s=220, marker="_", color=colour)
        axes.set(title=title, ylabel="test accuracy (%)")
        axes.set_xticks(range(len(networks)), networks)
        axes.grid(axis="y", alpha=0.3)
    for axes in panels[2:]:
        axes.sharey(panels[1])
    for start, colour in colours.items():
        panels[-1].scatter([], [], color=colour, label=f"pre-training: {start}")
    figure.legend(loc="outside lower center", ncols=3)
    return figure
