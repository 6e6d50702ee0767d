"""What tests/benchmarks/speed.py times: R50x1 by this package and by others, and the machine."""

import os
import statistics
import time

import numpy as np

CLASSES = 1000
MODEL = "BiT-M-R50x1"
STEPS = 3  # of training in a round, after one that is not timed
WARM_UP = 2  # calls that prepare memory and kernels
SIDE_OF_PRODUCT = 2048

# Multiply-adds of R50x1 with 1000 classes for one image of 224 x 224 (bit_keras.cost); they go with
# the number of pixels.
MULTIPLY_ADDS = 4.1e9


def export(folder, answer):
    """Writes the files; in a process of its own, whose TensorFlow ends with it."""
    import bit_keras
    from bit_keras.exporters.convert import convert

    model = bit_keras.create(MODEL, classes=CLASSES)
    bit_keras.export_saved_model(model, os.path.join(folder, "variables"))
    bit_keras.export_saved_model(model, os.path.join(folder, "frozen"), freeze=True)
    half = bit_keras.create(MODEL, classes=CLASSES, dtype="mixed_bfloat16")
    half.set_weights(model.get_weights())
    bit_keras.export_saved_model(half, os.path.join(folder, "bfloat16"), freeze=True)
    convert(model, os.path.join(folder, "model.onnx"), "onnx")
    convert(model, os.path.join(folder, "model.xml"), "openvino")
    answer.send("done")


def time_alone(kind, name, folder, sizes, calls, answer):
    """Sends the median seconds of a call for each (batch, side); in a process of its own."""
    run = ENGINES[kind][name](folder)
    rng = np.random.default_rng(0)
    found = []
    for batch, side in sizes:
        images = rng.uniform(size=(batch, side, side, 3)).astype("float32")
        seconds = [run(images) for _ in range(WARM_UP + calls)]
        found.append(statistics.median(seconds[WARM_UP:]))
    answer.send(found)


def _timed(call):
    """images -> seconds of one call"""

    def run(images):
        start = time.perf_counter()
        call(images)
        return time.perf_counter() - start

    return run


# Inference


def tensorflow_model(jit_compile=False):
    def tensorflow_make(folder):
        import tensorflow as tf

        import bit_keras

        model = bit_keras.create(MODEL, classes=CLASSES)
        function = tf.function(lambda x: model(x, training=False), jit_compile=jit_compile)
        return _timed(lambda images: function(tf.constant(images)).numpy())

    return tensorflow_make


def tensorflow_saved_model(name):
    def tensorflow_make(folder):
        import tensorflow as tf

        module = tf.saved_model.load(os.path.join(folder, name))
        return _timed(lambda images: module(tf.constant(images)).numpy())

    return tensorflow_make


def resnet50v2():
    import keras

    body = keras.applications.ResNet50V2(include_top=False, weights=None, pooling="avg")
    return keras.Model(body.input, keras.layers.Dense(CLASSES)(body.output))


def tensorflow_resnet50v2(folder):
    import tensorflow as tf

    model = resnet50v2()
    function = tf.function(lambda x: model(x, training=False))
    return _timed(lambda images: function(tf.constant(images)).numpy())


def tensorflow_product(dtype, share_of_inference=1):
    """Seconds of a matrix product of as many multiply-adds, at the rate of a square one."""

    def tensorflow_make(folder):
        import tensorflow as tf

        n = SIDE_OF_PRODUCT
        a, b = (tf.cast(tf.random.normal((n, n)), dtype) for _ in range(2))
        product = tf.function(tf.matmul)

        def run(images):
            start = time.perf_counter()
            product(a, b)[0, 0].numpy()
            rate = n**3 / (time.perf_counter() - start)
            pixels = images.shape[0] * images.shape[1] * images.shape[2]
            return share_of_inference * MULTIPLY_ADDS * pixels / 224**2 / rate

        return run

    return tensorflow_make


def _transformers():
    import torch
    from transformers import BitConfig, BitForImageClassification

    model = BitForImageClassification(BitConfig(num_labels=CLASSES))
    return model.to(memory_format=torch.channels_last)


def _nchw(images):
    import torch

    # A transposed view of NHWC is what torch calls channels_last.
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def torch_model(compiled=False):
    def torch_make(folder):
        import torch

        model = _transformers().eval()
        model = torch.compile(model, dynamic=False) if compiled else model

        def call(images):
            with torch.inference_mode():
                return model(_nchw(images)).logits.numpy()

        return _timed(call)

    return torch_make


def engine_of_file(name):
    def file_make(folder):
        from bit_keras.exporters.engines import load

        return _timed(load(os.path.join(folder, name)))

    return file_make


# Training


def with_loss(model, **arguments):
    import keras

    model.compile(
        keras.optimizers.SGD(0.003, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **arguments,
    )
    return model


def _fit(model):
    """Seconds of a step of `model.fit`, between the ends of steps."""
    import keras
    import tensorflow as tf

    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )

    def run(images):
        batch = tf.data.Dataset.from_tensors((images, np.zeros(len(images), "int32")))
        ends.clear()
        model.fit(batch.repeat(1 + STEPS), verbose=0, callbacks=[clock])
        return (ends[-1] - ends[0]) / STEPS

    return run


def tensorflow_fit(dtype=None, **arguments):
    def tensorflow_make(folder):
        import bit_keras

        return _fit(with_loss(bit_keras.create(MODEL, classes=CLASSES, dtype=dtype), **arguments))

    return tensorflow_make


def tensorflow_fit_resnet50v2(folder):
    return _fit(with_loss(resnet50v2()))


def tensorflow_bare_step(folder):
    """The same step without `fit`: forward, gradient and update in one tf.function."""
    import tensorflow as tf

    import bit_keras

    model = with_loss(bit_keras.create(MODEL, classes=CLASSES))
    model.optimizer.build(model.trainable_variables)

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = model.loss(labels, model(images, training=True))
        model.optimizer.apply(tape.gradient(loss, model.trainable_weights))
        return loss

    def run(images):
        batch = tf.constant(images), tf.zeros(len(images), "int32")
        step(*batch).numpy()
        start = time.perf_counter()
        for _ in range(STEPS):
            step(*batch).numpy()
        return (time.perf_counter() - start) / STEPS

    return run


def torch_loop(compiled=False):
    def torch_make(folder):
        import torch

        model = _transformers().train()
        optimizer = torch.optim.SGD(model.parameters(), 0.003, momentum=0.9)
        called = torch.compile(model, dynamic=False) if compiled else model

        def step(images, labels):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(called(images).logits, labels).backward()
            optimizer.step()

        def run(images):
            batch = _nchw(images), torch.zeros(len(images), dtype=torch.long)
            step(*batch)
            start = time.perf_counter()
            for _ in range(STEPS):
                step(*batch)
            return (time.perf_counter() - start) / STEPS

        return run

    return torch_make


ENGINES = {
    "inference": {
        "bit_keras": tensorflow_model(),
        "bit_keras jit_compile": tensorflow_model(jit_compile=True),
        "exported": tensorflow_saved_model("variables"),
        "frozen": tensorflow_saved_model("frozen"),
        "frozen bfloat16": tensorflow_saved_model("bfloat16"),
        "transformers": torch_model(),
        "transformers torch.compile": torch_model(compiled=True),
        "keras.applications' ResNet50V2": tensorflow_resnet50v2,
        "ONNX Runtime": engine_of_file("model.onnx"),
        "OpenVINO": engine_of_file("model.xml"),
        "floor": tensorflow_product("float32"),
        "floor bfloat16": tensorflow_product("bfloat16"),
    },
    "training": {
        "bit_keras": tensorflow_fit(),
        "bit_keras bare step": tensorflow_bare_step,
        "bit_keras jit_compile": tensorflow_fit(jit_compile=True),
        "bit_keras bfloat16": tensorflow_fit(dtype="mixed_bfloat16"),
        "transformers": torch_loop(),
        "transformers torch.compile": torch_loop(compiled=True),
        "keras.applications' ResNet50V2": tensorflow_fit_resnet50v2,
        "floor": tensorflow_product("float32", share_of_inference=3),
    },
}
