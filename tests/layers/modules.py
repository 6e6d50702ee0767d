"""Reusable SavedModels made with plain tf.Module, and the same networks in Keras."""

import keras
import numpy as np
import tensorflow as tf

L2 = 0.01
MOMENTUM = 0.9
EPSILON = 1e-3
IMAGES = tf.TensorSpec([None, None, None, 3], name="images")


class Reusable(tf.Module):
    """Saves lists where tf.Module has properties, which a SavedModel does not keep."""

    variables = ()
    trainable_variables = ()
    regularization_losses = ()


class Features(Reusable):
    """Convolution with L2, batch statistics that it updates itself, ReLU, mean over positions."""

    def __init__(self, filters=4, seed=0):
        super().__init__("features")
        rng = np.random.default_rng(seed)
        with self.name_scope:
            self.mean = tf.Variable(tf.zeros(filters), trainable=False, name="moving_mean")
            self.kernel = tf.Variable(
                rng.normal(size=(3, 3, 3, filters)).astype("float32"), name="conv/kernel"
            )
            self.variance = tf.Variable(tf.ones(filters), trainable=False, name="moving_variance")
            self.beta = tf.Variable(rng.normal(size=filters).astype("float32"), name="beta")
        self.variables = [self.mean, self.kernel, self.variance, self.beta]
        self.trainable_variables = [self.kernel, self.beta]
        self.regularization_losses = [self._kernel_loss]

    @tf.function(input_signature=[])
    def _kernel_loss(self):
        return L2 * tf.reduce_sum(tf.square(self.kernel))

    @tf.function
    def __call__(self, images, training=False):
        x = tf.nn.conv2d(images, self.kernel, strides=1, padding="SAME")
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = tf.nn.moments(x, axes=[0, 1, 2])
            self.mean.assign(self.mean * MOMENTUM + mean * (1 - MOMENTUM))
            self.variance.assign(self.variance * MOMENTUM + variance * (1 - MOMENTUM))
        x = tf.nn.batch_normalization(x, mean, variance, self.beta, None, EPSILON)
        return tf.reduce_mean(tf.nn.relu(x), axis=[1, 2])


def keras_features(module):
    """The layers of `Features`, by Keras, with the module's values."""
    layers = [
        keras.layers.Conv2D(
            4, 3, padding="same", use_bias=False, kernel_regularizer=keras.regularizers.L2(L2)
        ),
        keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, scale=False),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
    ]
    model = keras.Sequential([keras.Input((None, None, 3)), *layers])
    values = (module.kernel, module.beta, module.mean, module.variance)
    model.set_weights([value.numpy() for value in values])
    return model


class Dropout(Reusable):
    """A scale, and dropout from a generator whose state is a variable."""

    def __init__(self):
        super().__init__("dropout")
        self.state = tf.Variable([1, 2], dtype=tf.int64, trainable=False, name="seed_state")
        self.scale = tf.Variable(tf.ones(3), name="scale")
        self.variables = [self.state, self.scale]
        self.trainable_variables = [self.scale]

    @tf.function
    def __call__(self, images, training=False):
        x = tf.reduce_mean(images, axis=[1, 2]) * self.scale
        if not training:
            return x
        self.state.assign_add([0, 1])
        return tf.nn.experimental.stateless_dropout(x, rate=0.5, seed=self.state)


class Plain(tf.Module):
    """Only a callable, without `training` and without lists."""

    def __init__(self, shape=(3, 2)):
        super().__init__()
        self.kernel = tf.Variable(tf.ones(shape))
        self.offset = tf.Variable(tf.zeros(shape[-1:]))
        self.count = tf.Variable(0.0, trainable=False, name="count")

    @tf.function(input_signature=[IMAGES])
    def __call__(self, images):
        return tf.reduce_mean(images, axis=[1, 2]) @ self.kernel + self.offset + self.count


def save(module, path, inputs=IMAGES):
    """Saves the module as a SavedModel, traced for both values of `training` if it takes one."""
    if isinstance(module, Reusable):
        for training in (True, False):
            module.__call__.get_concrete_function(inputs, training=training)
    tf.saved_model.save(module, str(path))
    return str(path)
