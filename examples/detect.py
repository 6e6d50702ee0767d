"""Finds digits in scenes: the RetinaNet of keras-cv over a network of this package.

    python examples/detect.py
    python examples/detect.py --model runs/R14x0.5-digits/model.keras

A scene is a black canvas with one to five handwritten digits of many sizes. The digits of the test
scenes are not in the training scenes. The measure is COCO's mean average precision, which
pycocotools computes. The training starts from random weights, or from those of a classifier, and
takes less than four minutes on two cores. Saves detect.png.
"""

import contextlib
import io
import warnings

import keras
import keras_cv
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import bit_keras

_MODEL = flags.DEFINE_string("model", None, "A classifier of this package: a .keras file.")
_STEPS = flags.DEFINE_integer("steps", 500, "Training steps of 8 scenes.", lower_bound=1)
_SCENES = flags.DEFINE_integer("scenes", 200, "Scenes to test on.", lower_bound=12)

SIDE = 96  # of a scene, in pixels; RetinaNet wants a multiple of 32
MOST = 5  # digits in a scene
SIZES = (20, 44)  # least and largest side of a digit's square, in pixels
TRIES = 50  # attempts to find a free place for a digit
INK = 64  # of 255; a box leaves out fainter pixels
TEST_SEED = 10**9  # a seed that no training step uses
BATCH = 8  # scenes in a training step
RATE = 1e-3  # of Adam
DRAWN = 0.3  # least confidence of what is drawn
BOX_FORMAT = "xywh"  # left, top, width, height in pixels, as in COCO


def digits(examples):
    """Returns the ink of a task's digits, uint8 `[m, 8, 8]`, and their labels."""
    images = [example["image"][..., 0] for example in examples.dataset().as_numpy_iterator()]
    return np.stack(images), examples.labels


def box_of(ink):
    """Returns the tightest box around what is written in an image `[height, width]`."""
    rows, columns = (np.flatnonzero((ink >= INK).any(axis=axis)) for axis in (1, 0))
    left, top = columns[0], rows[0]
    return np.array([left, top, columns[-1] + 1 - left, rows[-1] + 1 - top])


def compose(inks, labels, number, seed):
    """Writes digits on canvases, none over another.

    Args:
        inks: uint8 `[m, 8, 8]`, the digits.
        labels: integers `[m]`.
        number: number of scenes.
        seed: seed of the random positions, sizes and digits.

    Returns:
        Scenes, uint8 `[number, SIDE, SIDE, 3]`, and a dict of their "boxes",
        `[number, MOST, 4]`, and "classes", `[number, MOST]`, both -1 where there is no digit.
    """
    rng = np.random.default_rng(seed)
    scenes = np.zeros((number, SIDE, SIDE), "uint8")
    boxes = np.full((number, MOST, 4), -1, "float32")
    classes = np.full((number, MOST), -1, "float32")
    for i, scene in enumerate(scenes):
        found, wanted = 0, rng.integers(1, MOST + 1)
        for _ in range(TRIES):
            size = rng.integers(SIZES[0], SIZES[1] + 1)
            top, left = rng.integers(SIDE - size + 1, size=2)
            place = scene[top : top + size, left : left + size]
            if found == wanted or place.any():
                continue
            digit = rng.integers(len(inks))
            place[:] = Image.fromarray(inks[digit]).resize((size, size), Image.BILINEAR)
            x, y, width, height = box_of(place)
            boxes[i, found] = left + x, top + y, width, height
            classes[i, found] = labels[digit]
            found += 1
    return scenes[..., np.newaxis].repeat(3, axis=-1), {"boxes": boxes, "classes": classes}


class Scenes(keras.utils.PyDataset):
    """Batches of scenes, each composed when it is asked for."""

    def __init__(self, inks, labels, steps):
        super().__init__()
        self.inks, self.labels, self.steps = inks, labels, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        scenes, truth = compose(self.inks, self.labels, BATCH, seed=step)
        return bit_keras.preprocess_input(scenes), truth


def detector(backbone):
    """Returns keras-cv's RetinaNet for the ten digits, over a network of this package."""
    return keras_cv.models.RetinaNet(
        backbone,
        num_classes=10,
        bounding_box_format=BOX_FORMAT,
        anchor_generator=keras_cv.layers.AnchorGenerator(
            BOX_FORMAT,
            sizes=[16, 32, 64, 128, 256],  # half of the usual sizes, because digits are small
            scales=[1, 2 ** (1 / 3), 2 ** (2 / 3)],
            aspect_ratios=[0.5, 1, 2],
            strides=[8, 16, 32, 64, 128],
            clip_boxes=True,
        ),
        # Heads of one layer instead of three are enough for digits. The bias makes every score 1 %
        # at first, because most anchors hold no object (arXiv 1708.02002, section 4.1).
        classification_head=keras_cv.models.retinanet.PredictionHead(
            9 * 10, keras.initializers.Constant(-np.log(99)), num_conv_layers=1
        ),
        box_head=keras_cv.models.retinanet.PredictionHead(9 * 4, "zeros", num_conv_layers=1),
        # Average precision counts detections of low confidence too, so none is dropped.
        prediction_decoder=keras_cv.layers.NonMaxSuppression(
            BOX_FORMAT, from_logits=True, confidence_threshold=0.0, max_detections=20
        ),
    )


def average_precision(truth, found):
    """Returns COCO's mean average precision over the classes, at an overlap of 0.5.

    It uses pycocotools because keras-cv's metric leaves out images in which nothing was found.

    Args:
        truth: dict of "boxes" `[n, k, 4]` and "classes" `[n, k]`, -1 where there is no object.
        found: the same with "confidence" `[n, k]`; k may be another.
    """
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(len(truth["classes"]))],
        "categories": [{"id": digit} for digit in range(10)],
        "annotations": [
            {"id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0, **one}
            for number, one in enumerate(_objects(truth), start=1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # hides pycocotools' printing
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(_objects(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[1]  # stats[0] is the mean over overlaps of 0.5 to 0.95


def _objects(batch):
    """Returns the objects of a batch as records in the format of COCO."""
    confidence = batch.get("confidence", np.ones_like(batch["classes"]))
    return [
        {
            "image_id": int(image),
            "category_id": int(batch["classes"][image, k]),
            "bbox": batch["boxes"][image, k].tolist(),
            "score": float(confidence[image, k]),
        }
        for image, k in np.argwhere(batch["classes"] >= 0)
    ]


def draw(scenes, truth, found, title):
    """Returns a figure of 12 scenes with the true boxes in green and the found boxes in orange."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    figure.suptitle(title)
    for i, axes in enumerate(figure.subplots(3, 4).flat):
        axes.imshow(scenes[i])
        for x, y, width, height in truth["boxes"][i][truth["classes"][i] >= 0]:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, color="lime"))
        for k in np.flatnonzero(found["confidence"][i] >= DRAWN):
            x, y, width, height = found["boxes"][i, k]
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, color="orange"))
            said = f"{found['classes'][i, k]}: {found['confidence'][i, k]:.0%}"
            behind = {"facecolor": "black", "edgecolor": "none", "alpha": 0.7, "pad": 1}
            axes.text(max(x, 0), max(y - 2, 5), said, color="orange", fontsize=8, bbox=behind)
        axes.axis("off")
    return figure


def main(_):
    keras.utils.set_random_seed(0)
    # keras-cv names its model's input, and then passes it without the name.
    warnings.filterwarnings("ignore", message="The structure of `inputs` doesn't match")
    task = bit_keras.task("digits")  # a --model has not been trained on its test images
    scenes, truth = compose(*digits(task.test), _SCENES.value, seed=TEST_SEED)
    print(f"to train on: {BATCH * _STEPS.value} scenes of {task.train.num_examples} digits")
    print(f"to test on: {len(scenes)} scenes of {task.test.num_examples} other digits")

    if _MODEL.value:
        backbone = keras.models.load_model(_MODEL.value)
        backbone.get_layer("head_conv2d").trainable = False  # a detector does not use the head
    else:
        backbone = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, include_top=False)
    model = detector(backbone)
    rate = keras.optimizers.schedules.CosineDecay(RATE, _STEPS.value)
    model.compile(
        optimizer=keras.optimizers.Adam(rate, global_clipnorm=10),
        box_loss="smoothl1",
        classification_loss="focal",
    )
    model.fit(Scenes(*digits(task.train), _STEPS.value))

    found = model.predict(bit_keras.preprocess_input(scenes), batch_size=BATCH)
    precision = average_precision(truth, found)
    print(f"mean average precision at an overlap of 0.5: {precision:.1%}")
    title = (
        f"test scenes: digits (green), and what was found, {DRAWN:.0%} sure or more (orange)\n"
        f"mean average precision at an overlap of 0.5: {precision:.1%}"
    )
    draw(scenes, truth, found, title).savefig("detect.png")
    print("some of them are drawn in detect.png")


if __name__ == "__main__":
    app.run(main)
