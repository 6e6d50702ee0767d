"""What augmentation costs: steps a second of the pipeline, and of training R14x0.5 with it.

    python tests/benchmarks/augmentation.py --rounds 5

JPEGs of 500x375 held in memory, at 160/128, with the mixup of the rule where CutMix does not take
its place. All are taken in turn, again and again; a ratio is to the pipeline without augmentation
of the same round, so another load of the machine falls on both. Nothing fails.
"""

import statistics

import keras
from absl import app, flags
from pipeline import made_task, rate

from bit_keras.data import keras_cv_augmentation, pipeline
from bit_keras.hyperrule import HyperRule
from bit_keras.models.zoo import create

_NAMES = (None, "rand_augment", "cutmix", "rand_augment,cutmix")
_STEPS, _BATCH_SIZE = 16, 32  # of which `rate` times the last 12


def measure(task, rule, consume):
    """Prints the median steps a second of each, and the median of its ratios."""
    rounds = []
    for _ in range(flags.FLAGS.rounds):
        streams = (
            pipeline.train_batches(task, rule, **keras_cv_augmentation.arguments(name, task))
            for name in _NAMES
        )
        rounds.append([rate((consume(batch) for batch in stream), 1) for stream in streams])
    for name, rates in zip(_NAMES, zip(*rounds, strict=True), strict=True):
        ratios = [mine / first for mine, (first, *_) in zip(rates, rounds, strict=True)]
        figures = f"{statistics.median(rates):.1f} steps/s, {statistics.median(ratios):.2f}"
        print(f"  {name or 'none'}: {figures}", flush=True)


def main(_):
    task = made_task(4 * _BATCH_SIZE)
    rule = HyperRule.for_task(50_000, (32, 32)).scaled(batch_size=_BATCH_SIZE, steps=_STEPS)
    network = create("R14x0.5", classes=task.num_classes)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    network.compile(optimizer="sgd", loss=loss)
    print("The pipeline alone:")
    measure(task, rule, lambda batch: batch)
    print("Training:")
    measure(task, rule, lambda batch: network.train_on_batch(*batch))


if __name__ == "__main__":
    app.run(main)
