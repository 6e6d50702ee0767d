"""Teachers of every make: what they see, what they give, and runs with them."""

import json

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from networks import QuickResNet, quick, randomize
from onnx import TensorProto, helper, numpy_helper
from training.stopped import stopped_at
from training.upstream_data import assert_equal, noise_task, values, write_pictures

import bit_keras
from bit_keras.cli.main import main
from bit_keras.training.distiller import Distiller
from bit_keras.training.teachers import TeacherView, teacher_of_file, teacher_of_model

pytestmark = pytest.mark.usefixtures("no_drawing")

IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 3)).astype("float32")
KERNEL = np.random.default_rng(1).normal(size=(3, 5)).astype("float32")
VIEW = {"mean": 127, "std": 128}


def write_onnx(path, channels_first=True, names=("features", "logits")):
    """Writes a file whose features are the mean of each channel, and its logits 5 sums of them."""
    shape = ["batch", 3, "height", "width"] if channels_first else ["batch", "height", "width", 3]
    axes = [2, 3] if channels_first else [1, 2]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in zip(names, (3, 5), strict=False)
    ]
    nodes = [
        helper.make_node("ReduceMean", ["images"], [names[0]], axes=axes, keepdims=0),
        helper.make_node("MatMul", [names[0], "kernel"], [names[-1]]),
    ][: len(names)]
    kernel = numpy_helper.from_array(KERNEL, "kernel")
    graph = helper.make_graph(nodes, "teacher", [images], outputs, [kernel])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path


def expected_features():
    return ((IMAGES + 1) * 127.5 - 127).mean(axis=(1, 2)) / 128


@pytest.mark.parametrize("channels_first", [True, False])
def test_an_onnx_file(channels_first, tmp_path):
    path = write_onnx(tmp_path / "teacher.onnx", channels_first)
    teacher = teacher_of_file(path, TeacherView("both", **VIEW), 16)
    assert teacher.widths == {"logits": 5, "features": 3}
    found = teacher.teach(tf.constant(IMAGES))
    np.testing.assert_allclose(found["features"], expected_features(), atol=1e-6)
    np.testing.assert_allclose(found["logits"], expected_features() @ KERNEL, atol=1e-5)


def test_a_file_with_one_output_gives_what_is_asked(tmp_path):
    path = write_onnx(tmp_path / "teacher.onnx", names=("pooled",))
    for output in ("features", "logits"):
        teacher = teacher_of_file(path, TeacherView(output, **VIEW), 16)
        np.testing.assert_allclose(
            teacher.teach(tf.constant(IMAGES))[output], expected_features(), atol=1e-6
        )


def test_the_teacher_sees_the_images_enlarged_and_with_its_own_mean_of_each_colour():
    view = TeacherView(size=32, mean=(10, 20, 30), std=(1, 2, 4))
    pixels = (IMAGES + 1) * 127.5
    expected = (tf.image.resize(pixels, [32, 32]) - [10, 20, 30]) / [1, 2, 4]
    np.testing.assert_allclose(view.of(tf.constant(IMAGES)), expected, rtol=1e-5, atol=1e-3)


def network():
    return randomize(QuickResNet(5), seed=1)


@pytest.mark.parametrize("given", [{}, {"mean": 127.5, "std": 127.5}])
def test_a_keras_model(given):
    model = network()
    teacher = teacher_of_model(model, TeacherView("both", **given), 16)
    features = keras.Model(model.inputs[0], model.endpoints["features"])
    found = teacher.teach(tf.constant(IMAGES))
    np.testing.assert_allclose(found["logits"], model(IMAGES), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["features"], features(IMAGES), rtol=1e-4, atol=1e-5)


def test_an_exported_saved_model(tmp_path):
    model = randomize(quick(5), seed=1)
    bit_keras.export_saved_model(model, tmp_path / "export")
    teacher = teacher_of_file(tmp_path / "export", TeacherView("both", mean=0, std=255), 16)
    features = keras.Model(model.inputs[0], model.layers[-2].output)
    found = teacher.teach(tf.constant(IMAGES))
    np.testing.assert_allclose(found["logits"], model(IMAGES), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["features"], features(IMAGES), rtol=1e-3, atol=1e-4)
    assert teacher.in_pipeline


def test_the_loss_of_logits_and_features(tmp_path):
    path = write_onnx(tmp_path / "teacher.onnx")
    teacher = teacher_of_file(path, TeacherView("both", **VIEW), 16)
    student = network()
    distiller = Distiller(student, teacher, temperature=2.0, labelled=False)
    taught = {name: value.numpy() for name, value in teacher.teach(tf.constant(IMAGES)).items()}
    distiller.standardize_on(taught["features"])
    x, y = distiller.with_teacher(tf.constant(IMAGES), tf.zeros([4, 5]))
    output = distiller(x)
    said, learned = (
        np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        for logits in (taught["logits"] / 2.0, output["logits"].numpy() / 2.0)
    )
    divergence = 4 * (said * np.log(said / learned)).sum(1).mean()
    features = taught["features"]
    standardized = (features - features.mean(0)) / features.std(0)
    squares = ((standardized - output["features"].numpy()) ** 2).mean()
    assert float(distiller.compute_loss(x, y, output)) == pytest.approx(
        divergence + squares, rel=1e-4
    )


def distill(output_dir, teacher, task, **arguments):
    keras.utils.set_random_seed(0)
    return bit_keras.distill(
        teacher,
        arguments.pop("student", None) or QuickResNet(5),
        task,
        output_dir=output_dir,
        teacher_mean=127,
        teacher_std=128,
        teacher_output="both",
        budget={"steps": 6, "batch_size": 8, "base_lr": 0.02, "warmup_steps": 1},
        verbose=False,
        **arguments,
    )


def test_a_run_on_pictures_goes_on_where_it_stopped(tmp_path, monkeypatch):
    teacher = write_onnx(tmp_path / "teacher.onnx")
    task = f"pictures:{write_pictures(tmp_path / 'pictures')}"
    arguments = {"eval_every": 3, "held_out": 0.2, "teacher_size": 24}
    alone = distill(tmp_path / "alone", teacher, task, **arguments)
    assert alone.model.class_names == ("0", "1", "2", "3", "4")
    assert 0 <= alone.metrics["test_accuracy"] <= 1
    configuration = alone.metrics["configuration"]
    assert configuration["teacher"] == "teacher.onnx"
    assert (configuration["teacher_size"], configuration["teacher_output"]) == (24, "both")
    with stopped_at(4, monkeypatch):
        distill(tmp_path / "stopped", teacher, task, **arguments)
    result = distill(tmp_path / "stopped", teacher, task, **arguments)
    assert_equal(values(result.model), values(alone.model))
    assert result.history == alone.history
    with pytest.raises(ValueError, match="teacher_size is 24 there and 32 here"):
        distill(tmp_path / "stopped", teacher, task, **{**arguments, "teacher_size": 32})


def test_the_accuracy_on_pictures_is_the_agreement_with_the_teacher(tmp_path):
    teacher = write_onnx(tmp_path / "teacher.onnx")
    root = write_pictures(tmp_path / "pictures", count=40)
    result = distill(tmp_path / "run", teacher, f"pictures:{root}")
    crop = result.metrics["configuration"]["rule"]["crop"]
    task = bit_keras.data.tasks.pretraining_task(f"pictures:{root}")
    agreed = []
    for example in task.test.dataset().as_numpy_iterator():
        pixels = tf.image.resize(tf.io.decode_image(example["image"]), [crop, crop])
        said = ((pixels.numpy() - 127) / 128).mean(axis=(0, 1)) @ KERNEL
        learned = result.model(bit_keras.preprocess_input(pixels)[None])
        agreed.append(said.argmax() == int(np.argmax(learned)))
    assert result.metrics["test_accuracy"] == pytest.approx(np.mean(agreed))


def test_a_file_teaches_a_task_with_labels(tmp_path):
    teacher = write_onnx(tmp_path / "teacher.onnx")
    with pytest.raises(ValueError, match=r"gives 5 logits, but .* has 3 classes"):
        distill(tmp_path / "run", teacher, noise_task(), student=QuickResNet(3))
    result = bit_keras.distill(
        teacher,
        QuickResNet(3),
        noise_task(),
        output_dir=tmp_path / "run",
        teacher_output="features",
        teacher_mean=0,
        teacher_std=255,
        budget={"steps": 2, "batch_size": 8, "warmup_steps": 1},
        verbose=False,
    )
    assert np.isfinite(result.metrics["test_loss"])


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"output": "logit"}, "expected 'logits', 'features' or 'both'"),
        ({"size": 0}, "teacher_size"),
        ({"mean": 127}, "expected both or neither"),
        ({"mean": (1, 2), "std": 1}, "expected one number, or one for each"),
        ({"mean": 0, "std": 0}, "above 0"),
        ({"mean": 0, "std": (1, -1, 1)}, "above 0"),
    ],
)
def test_views_out_of_range(view, message):
    with pytest.raises(ValueError, match=message):
        TeacherView(**view)


def test_probabilities_are_refused(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = bit_keras.Model(inputs, keras.layers.Softmax()(quick(5)(inputs)))
    with pytest.raises(ValueError, match=r"as of probabilities; expected logits"):
        teacher_of_model(model, TeacherView(size=24), 16)
    bit_keras.export_saved_model(model, tmp_path / "export")
    with pytest.raises(ValueError, match=r"export cannot be used on images of 16 pixels: .*logits"):
        teacher_of_file(tmp_path / "export", TeacherView(mean=0, std=255), 16)


def test_features_that_hardly_vary_do_not_become_huge(tmp_path):
    teacher = teacher_of_file(
        write_onnx(tmp_path / "teacher.onnx"), TeacherView("features", **VIEW), 16
    )
    distiller = Distiller(network(), teacher, labelled=False)
    features = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 1.0, 0.0]
    distiller.standardize_on(features.astype("float32"))
    scaled = distiller.standardization(np.float32([[0.0, 0.0, 0.1]]))
    assert abs(float(scaled[0, 2])) < 10


def test_features_and_rematerialization_are_refused(tmp_path):
    teacher = write_onnx(tmp_path / "teacher.onnx")
    with pytest.raises(ValueError, match=r"remat='unit' \(--remat\) works with teacher_output"):
        distill(tmp_path / "run", teacher, noise_task(), remat="unit")
    assert not (tmp_path / "run").exists()


def test_a_keras_model_teaches_pictures(tmp_path, eager):
    """The accuracy is the agreement, and the teacher runs once in a step."""
    calls = []

    class Counted(bit_keras.Model):
        def call(self, images, training=False):
            calls.append(len(images))
            return super().call(images, training=training)

    inputs = keras.Input((None, None, 3))
    teacher = Counted(inputs, randomize(quick(5), seed=1)(inputs))
    root = write_pictures(tmp_path / "pictures")
    result = bit_keras.distill(
        teacher,
        QuickResNet(5),
        f"pictures:{root}",
        output_dir=tmp_path / "run",
        budget={"steps": 3, "batch_size": 8, "warmup_steps": 1},
        verbose=False,
    )
    assert calls.count(8) == 3
    assert 0 <= result.metrics["test_accuracy"] <= 1
    saved = bit_keras.find_model(tmp_path / "run").load()
    assert saved.class_names == ("0", "1", "2", "3", "4")


def test_files_that_cannot_teach(tmp_path):
    path = write_onnx(tmp_path / "teacher.onnx")
    with pytest.raises(ValueError, match="Give teacher_mean and teacher_std"):
        teacher_of_file(path, TeacherView(), 16)
    other = write_onnx(tmp_path / "other.onnx", names=("a", "b"))
    with pytest.raises(ValueError, match="its outputs are a, b; expected one output, or one whose"):
        teacher_of_file(other, TeacherView("both", **VIEW), 16)
    single = write_onnx(tmp_path / "single.onnx", names=("pooled",))
    with pytest.raises(ValueError, match=r"its only output is pooled, which cannot be the logits"):
        teacher_of_file(single, TeacherView("both", **VIEW), 16)
    with pytest.raises(FileNotFoundError, match=r"There is no teacher"):
        teacher_of_file(tmp_path / "none.onnx", TeacherView(**VIEW), 16)
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"The teacher .*broken\.onnx cannot be used"):
        teacher_of_file(tmp_path / "broken.onnx", TeacherView(**VIEW), 16)


def test_a_model_of_other_images_is_refused_or_told_what_it_takes():
    inputs = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    model = bit_keras.Model(inputs, quick(5)(scaled))
    for view in (TeacherView(), TeacherView(size=24), TeacherView("both", size=24)):
        with pytest.raises(ValueError, match="scales images from 0 to 255 itself"):
            teacher_of_model(model, view, 16)
    teacher = teacher_of_model(model, TeacherView(mean=0, std=1), 16)
    expected = model((IMAGES + 1) * 127.5)
    np.testing.assert_allclose(
        teacher.teach(tf.constant(IMAGES))["logits"], expected, rtol=1e-4, atol=1e-5
    )


def test_the_flags_of_the_command(tmp_path):
    teacher = write_onnx(tmp_path / "teacher.onnx")
    root = write_pictures(tmp_path / "pictures")
    flags = ["--teacher_mean=127", "--teacher_std=128,128,128", "--teacher_output=features"]
    budget = ["--steps=2", "--batch_size=4", "--warmup_steps=1", "--crop=32"]
    output_dir = f"--output_dir={tmp_path / 'run'}"
    command = ["distill", str(teacher), f"--task=pictures:{root}", *flags, *budget, output_dir]
    assert main(command) == 0
    configuration = json.loads((tmp_path / "run" / "config.json").read_text())
    assert configuration["teacher_output"] == "features"
    assert configuration["teacher_std"] == [128, 128, 128]
