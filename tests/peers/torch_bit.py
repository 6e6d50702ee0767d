"""Big Transfer's forward pass in plain torch, from the paper and the official npz alone."""

import numpy as np
import torch
from torch.nn import functional


def logits(weights, images: np.ndarray) -> np.ndarray:
    """Returns `[batch, classes]`.

    Args:
        weights: an official npz as a mapping: an open `np.load(path)` reads each array as it is
            needed, and one layer at a time is in memory.
        images: float32 `[batch, height, width, 3]` in [-1, 1].
    """

    def tensor(key):
        return torch.from_numpy(weights[key])

    def conv(x, name, stride=1, padding=0):
        kernel = tensor(f"resnet/{name}/standardized_conv2d/kernel").permute(3, 2, 0, 1)
        variance, mean = torch.var_mean(kernel, dim=(1, 2, 3), keepdim=True, correction=0)
        kernel = (kernel - mean) / torch.sqrt(variance + 1e-10)
        return functional.conv2d(x, kernel, stride=stride, padding=padding)

    def norm_relu(x, name):
        gamma, beta = tensor(f"{name}/group_norm/gamma"), tensor(f"{name}/group_norm/beta")
        return functional.relu(functional.group_norm(x, 32, gamma, beta, eps=1e-5))

    def unit(x, name, stride):
        preactivation = norm_relu(x, f"resnet/{name}/a")
        shortcut = x
        if f"resnet/{name}/a/proj/standardized_conv2d/kernel" in weights:
            shortcut = conv(preactivation, f"{name}/a/proj", stride)
        y = conv(preactivation, f"{name}/a")
        y = conv(norm_relu(y, f"resnet/{name}/b"), f"{name}/b", stride, padding=1)
        return shortcut + conv(norm_relu(y, f"resnet/{name}/c"), f"{name}/c")

    with torch.inference_mode():
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        x = conv(x, "root_block", stride=2, padding=3)
        x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, stride=2)
        # What the file holds says how deep the network is.
        for name in sorted({"/".join(key.split("/")[1:3]) for key in weights if "/unit" in key}):
            block, number = name.split("/unit")
            x = unit(x, name, stride=2 if number == "01" and block != "block1" else 1)
        features = norm_relu(x, "resnet").mean((2, 3))
        head = tensor("resnet/head/conv2d/kernel")[0, 0]
        return (features @ head + tensor("resnet/head/conv2d/bias")).numpy()
