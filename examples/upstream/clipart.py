"""Makes the file of the task "clipart" from Debian's package openclipart-png.

    apt-get install openclipart-png
    python examples/upstream/clipart.py --output bit_keras/data/clipart.zip
"""

from __future__ import annotations

from types import MappingProxyType

# Each class and the folders below /usr/share/openclipart/png that it takes, with the folders below
# them. The pictures for pre-training leave these folders and those of MIXED out: see `is_held_out`.
FOLDERS = MappingProxyType(
    {
        "bird": ("animals/birds",),
        "body part": ("people/bodypart",),
        "building": ("buildings",),
        "clothing": ("people/clothing",),
        "computer": ("computer/hardware",),
        "dessert": ("food/desserts",),
        "drink": ("food/beverages",),
        "flower": ("plants/flowers",),
        "fruit": ("food/fruit",),
        "insect": ("animals/bugs",),
        "mammal": ("animals/mammals",),
        "meal": ("food/meats_and_eggs", "food/breads_and_carbs"),
        "musical instrument": ("recreation/music",),
        "person": (),
        "sky": ("signs_and_symbols/weather",),
        "sports equipment": ("recreation/sports",),
        "stationery": ("office",),
        "tool": ("tools",),
        "tree or leaf": ("plants/trees",),
        "vehicle": ("transportation/vehicles",),
    }
)

# Folders of many things, from which single pictures are taken.
MIXED = (
    "animals",
    "decorations",
    "education",
    "electronics",
    "food",
    "geography/astronomy",
    "people",
    "plants",
    "recreation/holiday",
    "recreation/toys",
    "science",
    "signs_and_symbols/clocks",
    "transportation",
    "unsorted",
)


def is_held_out(path: str) -> bool:
    """Returns True if a picture is kept for this task, and is left out of pre-training.

    Args:
        path: the picture's path below /usr/share/openclipart/png, with "/" between folders.

    >>> is_held_out("animals/birds/crow_01.png"), is_held_out("shapes/stars/star_01.png")
    (True, False)
    """
    folders = [*MIXED, *(folder for folders in FOLDERS.values() for folder in folders)]
    return any(path.startswith(folder + "/") for folder in folders)
