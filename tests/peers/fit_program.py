"""`python fit_program.py`: plain Keras fits a tiny network to digits for an epoch.

Its last line is JSON: the backend, and loss and accuracy before and after.
"""

import json

import keras
from sklearn.datasets import load_digits

import bit_keras


def main():
    keras.utils.set_random_seed(0)
    digits = load_digits()
    # 8x8 grey pixels from 0 to 16 become 32x32 RGB from 0 to 255.
    pixels = digits.images[:512, ..., None].repeat(4, 1).repeat(4, 2).repeat(3, 3) * (255 / 16)
    x, y = bit_keras.preprocess_input(pixels), digits.target[:512]
    model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
    model.compile(
        keras.optimizers.SGD(0.03, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, batch_size=32, epochs=1, verbose=0)
    print(
        json.dumps(
            {
                "backend": keras.backend.backend(),
                "before": before,
                "after": model.evaluate(x, y, verbose=0),
            }
        )
    )


if __name__ == "__main__":
    main()
