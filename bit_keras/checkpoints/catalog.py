"""A table of all published weight files of Big Transfer, made from the rules of their names.

    BiT-S-{arch}.npz, BiT-M-{arch}.npz                     6 + 6    upstream
    BiT-M-{arch}-ILSVRC2012.npz                            6        fine-tuned on ILSVRC-2012
    vtab/BiT-M-{arch}-run{0,1,2}-{task}.npz                285      fine-tuned on VTAB-1k
    distill/R50x1_{224,160}.npz                            2        distilled students
    distill/R152x2_T_{224,384}.npz                         2        their teachers

Source: the README of the official release (google-research/big_transfer), except where a comment
below names another one. No digest of any file is public.
"""

from dataclasses import dataclass

# Sizes in bytes of BiT-M-{arch}-ILSVRC2012.npz, as published by Hugging Face's model index.
_BYTES_WITH_1000_CLASSES = {
    "R50x1": 102_242_668,
    "R101x1": 178_256_468,
    "R50x3": 869_321_580,
    "R101x3": 1_551_830_100,
    "R152x2": 945_476_668,
    "R152x4": 3_746_270_104,
}

_UPSTREAM_CLASSES = {"S": 1_000, "M": 21_843}

_VTAB_ARCHITECTURES = ("R50x1", "R101x1", "R50x3", "R101x3", "R152x4")
_VTAB_RUNS = (0, 1, 2)

# VTAB-1k tasks and their numbers of classes (arXiv 1910.04867; task_adaptation's data loaders). By
# the BiT-HyperRule (arXiv 1912.11370, section 3.3), tasks of images with an area below 96 * 96 were
# trained at 128 pixels, and the others at 384 or, with an R152x4, at 480.
VTAB_CLASSES = {
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

# Top-1 accuracies on ILSVRC-2012, in percent, that the published files reach as they are, each with
# its source and the side of the images in pixels. timm measured its copies of the files, which hold
# the same weights (results tables of timm 1.0.31); timm has no copy of distilled-160. The paper of
# Big Transfer and the official README have other figures, such as 80.68 for R50x1: they are of
# fine-tunings that were not published as files.
_ACCURACIES = {
    ("BiT-M-R50x1", "ilsvrc2012"): (80.39, "timm", 448),
    ("BiT-M-R101x1", "ilsvrc2012"): (82.33, "timm", 448),
    ("BiT-M-R50x3", "ilsvrc2012"): (83.98, "timm", 448),
    ("BiT-M-R101x3", "ilsvrc2012"): (84.43, "timm", 448),
    ("BiT-M-R152x2", "ilsvrc2012"): (84.47, "timm", 448),
    ("BiT-M-R152x4", "ilsvrc2012"): (84.94, "timm", 480),
    ("BiT-M-R50x1", "distilled-224"): (82.82, "timm", 224),
    ("BiT-M-R50x1", "distilled-160"): (80.5, "arXiv 2106.05237", 160),
    ("BiT-M-R152x2", "teacher-224"): (82.92, "timm", 224),
    ("BiT-M-R152x2", "teacher-384"): (83.86, "timm", 384),
}

# The weight files made by distillation: architecture, name of the checkpoint, file, resolution in
# pixels.
_DISTILLED = (
    ("R50x1", "distilled-224", "distill/R50x1_224.npz", 224),
    ("R50x1", "distilled-160", "distill/R50x1_160.npz", 160),
    ("R152x2", "teacher-224", "distill/R152x2_T_224.npz", 224),
    ("R152x2", "teacher-384", "distill/R152x2_T_384.npz", 384),
)


@dataclass(frozen=True)
class Checkpoint:
    """A weight file that Google published, with its address, head, size and accuracy.

    Attributes:
        model: name of the model that the file fits, such as "BiT-M-R50x1".
        name: value of `pretrained=` for this file, such as "upstream" or "vtab/run0/cifar100".
        file: address of the file relative to the base address.
        head: data set whose classes the head predicts.
        classes: number of classes of the head.
        resolution: side in pixels of the last training images. It is published for the distilled
            and upstream files. For the fine-tuned files it follows from the paper's BiT-HyperRule
            (the official code's rule has 480 throughout).
        size: bytes; see `size_is_published`.
        size_is_published: False where the size is computed from the format. A file with numbered
            layer names would be a little larger.
        accuracy: reported top-1 accuracy of this file on ILSVRC-2012 in percent, or None.
        reported_by: the source of the accuracy and the side of its images, or None.
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


def _checkpoint(
    model: str, name: str, file: str, head: str, classes: int, resolution: int
) -> Checkpoint:
    architecture = model.split("-")[2]
    # Each class of the head has a float32 weight for each channel of the last feature map, and a
    # float32 bias, so the size of a file follows from its number of classes.
    channels = 2048 * int(architecture.rpartition("x")[2])
    size = _BYTES_WITH_1000_CLASSES[architecture] + 4 * (classes - 1000) * (channels + 1)
    accuracy, source, side = _ACCURACIES.get((model, name), (None, None, None))
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
        reported_by=source and f"{source}, at {side} pixels",
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
        for task, classes in VTAB_CLASSES.items()
    ]
    return upstream + ilsvrc2012 + distilled + vtab


CHECKPOINTS = {(entry.model, entry.name): entry for entry in _all_checkpoints()}
