"""The operations of R50x1 that take the most time."""

import collections
import glob
import tempfile

CALLS = 3


def costliest(kind, case, number=5):
    """Returns lines: TensorFlow's kinds of operations with the most time in a call, all threads'
    together. The gradient of a convolution is two of them."""
    import numpy as np
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run = _run(kind)
    batch, side = map(int, case.split("x"))
    images = np.random.default_rng(0).uniform(size=(batch, side, side, 3)).astype("float32")
    run(images)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(CALLS):
            run(images)
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        with open(path, "rb") as file:
            space.ParseFromString(file.read())
    host = next(plane for plane in space.planes if plane.name == "/host:CPU")
    total = collections.Counter()
    for line in host.lines:
        for event in line.events:
            name = host.event_metadata[event.metadata_id].name
            # An operation is NAME:KIND; all else are TensorFlow's own functions.
            if ":" in name and not name.startswith(" "):
                total[name.rpartition(":")[2]] += event.duration_ps / 1e9 / CALLS
    return "\n".join(f"{name:40} {ms:7.1f} ms" for name, ms in total.most_common(number))


def _run(kind):
    import numpy as np
    import speed_engines
    import tensorflow as tf

    import bit_keras

    model = bit_keras.create(speed_engines.MODEL, classes=speed_engines.CLASSES)
    if kind == "inference":
        function = tf.function(lambda x: model(x, training=False))
        return lambda images: function(tf.constant(images))
    model = speed_engines.with_loss(model)
    return lambda images: model.train_on_batch(images, np.zeros(len(images), "int32"))
