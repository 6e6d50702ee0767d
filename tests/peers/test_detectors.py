"""Our backbone in detectors that others wrote: the RetinaNet of keras-hub and that of keras-cv."""

import keras
import numpy as np
import pytest
from networks import images, randomize, tiny

pytestmark = [
    pytest.mark.slow,
    # Both are warnings of keras-cv about itself: it names its input and then passes it unnamed,
    # and saves its losses in no configuration.
    pytest.mark.filterwarnings("ignore:(?s).*structure of `inputs` doesn't match:UserWarning"),
    pytest.mark.filterwarnings("ignore:`compile\\(\\)` was not called as part of:UserWarning"),
]

CLASSES, MOST = 3, 20
BOXES = np.array(  # left, top, right, bottom; the second image has one object only
    [[[8, 8, 32, 40], [30, 30, 60, 60]], [[0, 0, 20, 30], [-1, -1, -1, -1]]], "float32"
)
LABELS = np.array([[1, 2], [0, -1]])


@pytest.fixture
def scenes():
    return images(2, 64, 96, 3)


@pytest.fixture
def backbone():
    return tiny(include_top=False, pooling=None)


def of_keras_hub(backbone):
    import keras_hub

    pyramid = keras_hub.models.RetinaNetBackbone(
        image_encoder=backbone, min_level=3, max_level=5, use_p5=False
    )
    detector = keras_hub.models.RetinaNetObjectDetector(
        pyramid,
        num_classes=CLASSES,
        bounding_box_format="xyxy",
        pre_logits_num_conv_layers=1,
        prediction_decoder=keras_hub.layers.NonMaxSuppression(
            "xyxy", from_logits=True, confidence_threshold=0.0, max_detections=MOST
        ),
    )
    detector.compile("sgd")
    truth = {"boxes": BOXES, "labels": LABELS}
    return detector, pyramid.get_layer("backbone"), truth


def of_keras_cv(backbone):
    import keras_cv

    detector = keras_cv.models.RetinaNet(
        backbone,
        num_classes=CLASSES,
        bounding_box_format="xyxy",
        prediction_decoder=keras_cv.layers.NonMaxSuppression(
            "xyxy", from_logits=True, confidence_threshold=0.0, max_detections=MOST
        ),
    )
    detector.compile(optimizer="sgd", box_loss="smoothl1", classification_loss="focal")
    truth = {"boxes": BOXES, "classes": LABELS}
    return detector, detector.feature_extractor, truth


on_both = pytest.mark.parametrize(
    "build", [pytest.param(of_keras_hub, marks=pytest.mark.peer), of_keras_cv]
)


@on_both
def test_the_detector_sees_blocks_2_to_4_normalized(build, backbone, scenes):
    randomize(backbone)
    _, extractor, _ = build(backbone)
    found = extractor(scenes)
    assert set(found) == {"P3", "P4", "P5"}
    for level, stride, block, norm in (
        ("P3", 8, "block2", "block3_unit01_a_group_norm"),
        ("P4", 16, "block3", "block4_unit01_a_group_norm"),
        ("P5", 32, "block4", "group_norm"),
    ):
        end_of_block = keras.Function(backbone.input, backbone.endpoints[block])(scenes)
        assert found[level].shape[1:3] == (64 // stride, 96 // stride)
        expected = backbone.get_layer(norm)(end_of_block)
        np.testing.assert_allclose(found[level], expected, rtol=1e-5, atol=1e-5)


@on_both
def test_a_training_step_moves_every_weight_of_the_backbone(build, backbone, scenes):
    detector, _, truth = build(backbone)
    before = [weight.numpy() for weight in backbone.trainable_weights]
    history = detector.fit(scenes, truth, batch_size=2, shuffle=False, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values()), history
    assert history["loss"][0] > 0
    assert len(before) == len(backbone.weights)
    for old, weight in zip(before, backbone.trainable_weights, strict=True):
        assert np.isfinite(weight.numpy()).all(), weight.path
        assert (weight.numpy() != old).any(), weight.path  # by SGD without momentum: a gradient


@on_both
def test_a_prediction_is_boxes(build, backbone, scenes):
    detector, _, _ = build(backbone)
    found = detector.predict(scenes, verbose=0)
    labels = found["labels"] if "labels" in found else found["classes"]
    assert found["boxes"].shape == (2, MOST, 4)
    assert found["confidence"].shape == labels.shape == (2, MOST)
    for image, number in enumerate(found["num_detections"]):
        assert 0 < number <= MOST
        boxes, confidence = found["boxes"][image, :number], found["confidence"][image, :number]
        assert (boxes[:, 2:] >= boxes[:, :2]).all()
        assert ((confidence > 0) & (confidence <= 1)).all()
        assert np.isin(labels[image, :number], range(CLASSES)).all()


@on_both
def test_a_saved_detector_predicts_the_same(build, backbone, scenes, tmp_path):
    detector, _, _ = build(randomize(backbone))
    detector.save(tmp_path / "detector.keras")
    again = keras.models.load_model(tmp_path / "detector.keras")
    expected = detector.predict(scenes, verbose=0)
    for name, found in again.predict(scenes, verbose=0).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
