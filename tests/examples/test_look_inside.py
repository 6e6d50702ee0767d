"""The examples that look inside a network: nearest neighbours and Grad-CAM."""

import keras
import numpy as np
import pytest
from networks import images, randomize, tiny

PROGRAMS = ("grad_cam", "nearest_neighbours")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_trains_and_draws(name, example, check_picture, capsys):
    example(name, "--steps=1").main([])
    assert "%" in capsys.readouterr().out
    check_picture(name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_takes_a_model(name, example, check_picture, capsys):
    randomize(tiny()).save("some.keras")
    example(name, "--model=some.keras").main([])
    assert "loss" not in capsys.readouterr().out  # nothing is trained
    check_picture(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said", "least"),
    [("grad_cam", "of the four in ", 75), ("nearest_neighbours", "recall@1 ", 90)],
)
def test_a_program_finds_digits(name, said, least, example, capsys):
    example(name).main([])
    printed = capsys.readouterr().out
    assert float(printed.split(said)[1].split("%")[0]) >= least, printed


# Grad-CAM, computed in other ways


def test_grad_cam_before_the_head_is_the_head_on_each_place(example):
    model = randomize(tiny())
    x, classes = images(3, 64, 96, 3), np.array([7, 0, 3])
    found = example("grad_cam").grad_cam(model, x, classes, "pre_head")
    maps = keras.Model(model.input, model.endpoints["pre_head"]).predict(x, verbose=0)
    kernel = model.get_layer("head_conv2d").kernel.numpy()
    assert maps.shape[1:3] == (2, 3)
    # A logit is the mean over the map of what the kernel gives at each place.
    expected = np.einsum("nhwc,cn->nhw", maps, kernel[:, classes]) / (2 * 3)
    assert (expected < 0).any()
    assert (expected > 0).any()
    expected = np.maximum(expected, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("endpoint", ["block2", "block4"])
def test_grad_cam_weights_are_the_slopes_of_the_logit(endpoint, example):
    model = randomize(tiny(dtype="float64"))
    x, classes = images(1, 64, 96, 3).astype("float64"), np.array([4])
    found = example("grad_cam").grad_cam(model, x, classes, endpoint)
    maps = keras.ops.convert_to_numpy(keras.Model(model.input, model.endpoints[endpoint])(x))
    logits = keras.Model(model.endpoints[endpoint], model.endpoints["logits"])
    places, channels = maps.shape[1] * maps.shape[2], maps.shape[3]
    # A channel raised everywhere by a step changes the logit by the sum of its gradients.
    step = 1e-5
    raised = maps + step * np.eye(channels)[:, np.newaxis, np.newaxis]
    lowered = maps - step * np.eye(channels)[:, np.newaxis, np.newaxis]
    # Called, as predict would round to float32.
    slopes = keras.ops.convert_to_numpy(logits(raised) - logits(lowered)) / (2 * step)
    weights = slopes[:, classes[0]] / places
    expected = np.maximum(maps[0] @ weights, 0)
    assert expected.max() > 0
    np.testing.assert_allclose(found[0], expected, atol=1e-4 * expected.max())


def test_nearest_is_by_cosine(example):
    nearest = example("nearest_neighbours").nearest
    candidates = np.array([[10.0, 10.0], [0.0, 1.0], [-1.0, 0.0]])
    found = nearest(np.array([[1.0, 0.9], [0.0, 5.0]]), candidates, 2)
    np.testing.assert_array_equal(found, [[0, 1], [1, 0]])
