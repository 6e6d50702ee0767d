"""`python forward_program.py {bit_keras,torch} ARCHITECTURE WEIGHTS.npz LOGITS.npz`: the logits of
two images in a process of its own, which gives its gigabytes back when it ends."""

import sys

import numpy as np
from fabricated import images

SIZES = ((64, 64), (97, 131))


def main(implementation, architecture, weights, output):
    if implementation == "bit_keras":
        import bit_keras

        model = bit_keras.create(f"BiT-S-{architecture}", pretrained=weights)
        found = [np.asarray(model(images(1, *size, 3))) for size in SIZES]
    else:
        import torch_bit

        with np.load(weights) as arrays:
            found = [torch_bit.logits(arrays, images(1, *size, 3)) for size in SIZES]
    np.savez(output, *found)


if __name__ == "__main__":
    main(*sys.argv[1:])
