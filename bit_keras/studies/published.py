"""The paper's results, to stand beside one's own: top-1 accuracies in percent.

BiT-L, generalist and specialist state of the art: arXiv 1912.11370, table 1 (the generalists
pre-train without knowing the task, as BiT does; the specialists know it). BiT-M and BiT-S: table 2.
All three are R152x4. What table 1 leaves open is None.
"""

from dataclasses import dataclass

COLUMNS = ("BiT-L", "BiT-M", "BiT-S", "generalist SOTA", "specialist SOTA")


@dataclass(frozen=True)
class PublishedRow:
    """A row of the paper's tables.

    Attributes:
        title: as the paper writes it.
        task: the name of the task, as a run's configuration has it; None for VTAB-1k, which is 19.
        bit_l: median and standard deviation of three runs.
        bit_m: a single figure, as all that follow.
        bit_s: likewise.
        generalist: likewise.
        specialist: likewise.
    """

    title: str
    task: str | None
    bit_l: tuple[float, float]
    bit_m: float
    bit_s: float
    generalist: float
    specialist: float | None

    def cells(self) -> tuple[str, ...]:
        """Returns the texts that stand under `COLUMNS`."""
        median, std = self.bit_l
        figures = (self.bit_m, self.bit_s)
        return (
            f"{median:.2f} ± {std:.2f}",
            *(f"{figure:.2f}" for figure in figures),
            f"{self.generalist:.1f}",
            "-" if self.specialist is None else f"{self.specialist:.1f}",
        )


# fmt: off
ROWS = (
    PublishedRow("ILSVRC-2012", "imagenet2012", (87.54, 0.02), 85.39, 81.30, 86.4, 88.4),
    PublishedRow("CIFAR-10", "cifar10", (99.37, 0.06), 98.91, 97.51, 99.0, None),
    PublishedRow("CIFAR-100", "cifar100", (93.51, 0.08), 92.17, 86.21, 91.7, None),
    PublishedRow("Pets", "oxford_iiit_pet", (96.62, 0.23), 94.46, 93.97, 95.9, 97.1),
    PublishedRow("Flowers", "oxford_flowers102", (99.63, 0.03), 99.30, 89.89, 98.8, 97.7),
    PublishedRow("VTAB (19 tasks)", None, (76.29, 1.70), 70.64, 66.87, 70.5, None),
)
# fmt: on
