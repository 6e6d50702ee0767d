"""Big Transfer in float64 numpy, written from the paper alone, to hold the package against.

It shares no code with bit_keras, loops where the package has tensors, and reads a weight file's
arrays by their official keys.
"""

import numpy as np


def standardize(kernel, epsilon=1e-10):
    kernel = np.asarray(kernel, "float64")
    flat = kernel.reshape(-1, kernel.shape[-1])
    return ((flat - flat.mean(0)) / np.sqrt(flat.var(0) + epsilon)).reshape(kernel.shape)


def pad(x, amount):
    return np.pad(x, ((0, 0), (amount, amount), (amount, amount), (0, 0)))


def convolve(x, kernel, stride=1, dilation=1, groups=1):
    """A convolution of a padded input, one kernel position at a time."""
    x, kernel = np.asarray(x, "float64"), np.asarray(kernel, "float64")
    size_h, size_w, _, filters = kernel.shape
    height = (x.shape[1] - dilation * (size_h - 1) - 1) // stride + 1
    width = (x.shape[2] - dilation * (size_w - 1) - 1) // stride + 1
    outputs = []
    for inputs, kernels in zip(
        np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True
    ):
        y = np.zeros((x.shape[0], height, width, filters // groups))
        for i in range(size_h):
            for j in range(size_w):
                top, left = i * dilation, j * dilation
                window = inputs[
                    :,
                    top : top + (height - 1) * stride + 1 : stride,
                    left : left + (width - 1) * stride + 1 : stride,
                ]
                y += window @ kernels[i, j]
        outputs.append(y)
    return np.concatenate(outputs, axis=-1)


def group_norm(x, gamma=1.0, beta=0.0, groups=32, epsilon=1e-5):
    x = np.asarray(x, "float64")
    y = np.empty_like(x)
    size = x.shape[-1] // groups
    for example in range(len(x)):
        for group in range(groups):
            channels = slice(group * size, (group + 1) * size)
            values = x[example, ..., channels]
            y[example, ..., channels] = (values - values.mean()) / np.sqrt(values.var() + epsilon)
    return y * gamma + beta


def max_pool(x, size=3, stride=2):
    height, width = ((n - size) // stride + 1 for n in x.shape[1:3])
    return np.max(
        [
            x[:, i : i + stride * height : stride, j : j + stride * width : stride][
                :, :height, :width
            ]
            for i in range(size)
            for j in range(size)
        ],
        axis=0,
    )


def resnet_v2(weights, images, depths=(3, 4, 6, 3)):
    """Returns the endpoints of the network as a dict; `weights` is an official npz as a dict."""

    def conv(x, key, stride=1, padding=0):
        kernel = weights[f"resnet/{key}/standardized_conv2d/kernel"]
        return convolve(pad(x, padding), standardize(kernel), stride)

    def norm_relu(x, key):
        gamma, beta = (weights[f"resnet/{key}group_norm/{name}"] for name in ("gamma", "beta"))
        return np.maximum(group_norm(x, gamma, beta), 0)

    x = conv(np.asarray(images, "float64"), "root_block", stride=2, padding=3)
    x = max_pool(pad(x, 1))
    endpoints = {"root": x}
    for block, depth in enumerate(depths, start=1):
        for unit in range(1, depth + 1):
            key = f"block{block}/unit{unit:02d}"
            stride = 2 if unit == 1 and block > 1 else 1
            y = norm_relu(x, f"{key}/a/")
            shortcut = conv(y, f"{key}/a/proj", stride) if unit == 1 else x
            y = norm_relu(conv(y, f"{key}/a"), f"{key}/b/")
            y = norm_relu(conv(y, f"{key}/b", stride, padding=1), f"{key}/c/")
            x = shortcut + conv(y, f"{key}/c")
        endpoints[f"block{block}"] = x
    endpoints["pre_head"] = norm_relu(x, "")
    endpoints["features"] = endpoints["pre_head"].mean((1, 2))
    head = weights["resnet/head/conv2d/kernel"].astype("float64")[0, 0]
    endpoints["logits"] = endpoints["features"] @ head + weights["resnet/head/conv2d/bias"]
    return endpoints


def relative_error(actual, expected):
    """The largest difference, relative to the largest value."""
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / np.abs(expected).max()
