"""`python forward_program.py {bit_keras,torch} ARCHITECTURE WEIGHTS.npz LOGITS.npy`: the logits of
an image in a process of its own, which gives its gigabytes back when it ends."""

import sys

import numpy as np
from fabricated import images

IMAGE = images(1, 97, 131, 3)  # at this size every padding and stride leaves a remainder


def main(implementation, architecture, weights, output):
    if implementation == "bit_keras":
        import bit_keras

        model = bit_keras.create(f"BiT-S-{architecture}", pretrained=weights)
        logits = np.asarray(model(IMAGE))
    else:
        import torch_bit

        with np.load(weights) as arrays:
            logits = torch_bit.logits(arrays, IMAGE)
    np.save(output, logits)


if __name__ == "__main__":
    main(*sys.argv[1:])
