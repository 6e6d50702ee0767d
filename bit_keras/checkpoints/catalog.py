"""Every published weight file of Big Transfer as data, from the rules of their names.

    BiT-S-{arch}.npz, BiT-M-{arch}.npz                     6 + 6    upstream
    BiT-M-{arch}-ILSVRC2012.npz                            6        fine-tuned on ILSVRC-2012
    vtab/BiT-M-{arch}-run{0,1,2}-{task}.npz                285      fine-tuned on VTAB-1k
    distill/R50x1_{224,160}.npz                            2        distilled students
    distill/R152x2_T_{224,384}.npz                         2        their teachers

Source: the README of the official release (google-research/big_transfer), but for what a line
below says otherwise. No digest of any file is public.
"""

from dataclasses import dataclass

# Bytes of BiT-M-{arch}-ILSVRC2012.npz, as Hugging Face's model index publishes them.
_BYTES_WITH_1000_CLASSES = {
    "R50x1": 102_242_668,
    "R101x1": 178_256_468,
    "R50x3": 869_321_580,
    "R101x3": 1_551_830_100,
    "R152x2": 945_476_668,
    "R152x4": 3_746_270_104,
}

# Channels of the last feature map: what a class costs, with its bias, in float32 weights.
_FEATURES = {
    "R50x1": 2048,
    "R101x1": 2048,
    "R50x3": 6144,
    "R101x3": 6144,
    "R152x2": 4096,
    "R152x4": 8192,
}

_UPSTREAM_CLASSES = {"S": 1_000, "M": 21_843}

_VTAB_ARCHITECTURES = ("R50x1", "R101x1", "R50x3", "R101x3", "R152x4")
_VTAB_RUNS = (0, 1, 2)

# Task and number of classes (arXiv 1910.04867; task_adaptation's data loaders). The small images
# (area below 96 * 96) were trained at 128 pixels and the others at 384 or, with an R152x4, 480:
# the BiT-HyperRule (arXiv 1912.11370, section 3.3).
_VTAB_CLASSES = {
    "caltech101": 102,
    "cifar100": 100,
    "clevr-count": 8,
    "clevr-distance": 6,
    "diabetic_retinopathy": 5,
    "dmlab": 6,
    "dsprites-orientation": 16,
    "dsprites-xpos": 16,
    "dtd": 47,
    "eurosat": 10,
    "kitti-distance": 4,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "patch_camelyon": 2,
    "resisc45": 45,
    "smallnorb-azimuth": 18,
    "smallnorb-elevation": 9,
    "sun397": 397,
    "svhn": 10,
}
_VTAB_SMALL_IMAGES = ("cifar100", "dsprites-orientation", "dsprites-xpos", "eurosat", "svhn")

_PAPER = "arXiv 1912.11370"
_README = "official README"
_DISTILLATION = "arXiv 2106.05237"

# ILSVRC-2012 top-1 in percent, and who reported it.
_ACCURACIES = {
    ("BiT-S-R152x4", "upstream"): (81.30, _PAPER),
    ("BiT-M-R50x1", "ilsvrc2012"): (80.68, _README),
    ("BiT-M-R152x2", "ilsvrc2012"): (85.15, _README),
    ("BiT-M-R152x4", "ilsvrc2012"): (85.39, _PAPER),
    ("BiT-M-R50x1", "distilled-224"): (82.8, _DISTILLATION),
    ("BiT-M-R50x1", "distilled-160"): (80.5, _DISTILLATION),
}

# (architecture, name of the checkpoint, file, resolution)
_DISTILLED = (
    ("R50x1", "distilled-224", "distill/R50x1_224.npz", 224),
    ("R50x1", "distilled-160", "distill/R50x1_160.npz", 160),
    ("R152x2", "teacher-224", "distill/R152x2_T_224.npz", 224),
    ("R152x2", "teacher-384", "distill/R152x2_T_384.npz", 384),
)

# sha256 of files that somebody vouches for, by file. Empty: nobody has published one.
_DIGESTS: dict[str, str] = {}


@dataclass(frozen=True)
class Checkpoint:
    """One published weight file.

    Attributes:
        model: name of the model that it fits, such as "BiT-M-R50x1".
        name: what `pretrained=` calls it, such as "upstream" or "vtab/run0/cifar100".
        file: its address below the base address.
        head: what its head tells apart.
        classes: size of the head.
        resolution: side in pixels of the images that it was trained on last: published for the
            distilled ones and upstream, by the paper's BiT-HyperRule for the fine-tuned ones,
            with which no resolution was published (the official code's rule has 480 throughout).
        size: bytes; see `size_is_published`.
        size_is_published: False where the size is computed from the format. A file that numbers
            its layers' names would be a little larger.
        accuracy: reported top-1 on ILSVRC-2012 in percent, or None.
        reported_by: who reported it, or None.
        sha256: hexadecimal digest that somebody vouches for, or None.
    """

    model: str
    name: str
    file: str
    head: str
    classes: int
    resolution: int
    size: int
    size_is_published: bool
    accuracy: float | None
    reported_by: str | None
    sha256: str | None


def _checkpoint(
    model: str, name: str, file: str, head: str, classes: int, resolution: int
) -> Checkpoint:
    architecture = model.split("-")[2]
    extra_classes = classes - 1000
    size = _BYTES_WITH_1000_CLASSES[architecture] + 4 * extra_classes * (
        _FEATURES[architecture] + 1
    )
    accuracy, reported_by = _ACCURACIES.get((model, name), (None, None))
    return Checkpoint(
        model=model,
        name=name,
        file=file,
        head=head,
        classes=classes,
        resolution=resolution,
        size=size,
        size_is_published=name == "ilsvrc2012",
        accuracy=accuracy,
        reported_by=reported_by,
        sha256=_DIGESTS.get(file),
    )


def _fine_tuned_at(architecture: str) -> int:
    return 480 if architecture == "R152x4" else 384


def _all_checkpoints() -> list[Checkpoint]:
    upstream = [
        _checkpoint(
            f"BiT-{family}-{arch}",
            "upstream",
            f"BiT-{family}-{arch}.npz",
            {"S": "ILSVRC-2012", "M": "ImageNet-21k"}[family],
            classes,
            224,
        )
        for family, classes in _UPSTREAM_CLASSES.items()
        for arch in _BYTES_WITH_1000_CLASSES
    ]
    ilsvrc2012 = [
        _checkpoint(
            f"BiT-M-{arch}",
            "ilsvrc2012",
            f"BiT-M-{arch}-ILSVRC2012.npz",
            "ILSVRC-2012",
            1000,
            _fine_tuned_at(arch),
        )
        for arch in _BYTES_WITH_1000_CLASSES
    ]
    distilled = [
        _checkpoint(f"BiT-M-{arch}", name, file, "ILSVRC-2012", 1000, resolution)
        for arch, name, file, resolution in _DISTILLED
    ]
    vtab = [
        _checkpoint(
            f"BiT-M-{arch}",
            f"vtab/run{run}/{task}",
            f"vtab/BiT-M-{arch}-run{run}-{task}.npz",
            f"VTAB-1k {task}",
            classes,
            128 if task in _VTAB_SMALL_IMAGES else _fine_tuned_at(arch),
        )
        for arch in _VTAB_ARCHITECTURES
        for run in _VTAB_RUNS
        for task, classes in _VTAB_CLASSES.items()
    ]
    return upstream + ilsvrc2012 + distilled + vtab


CHECKPOINTS = {(entry.model, entry.name): entry for entry in _all_checkpoints()}
