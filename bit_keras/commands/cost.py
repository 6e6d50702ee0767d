"""`bit-keras cost`."""

from absl import flags

from bit_keras.commands.command import (
    NUMBER,
    SWITCH,
    TASK_OPTION_FLAGS,
    TEXT,
    WHOLE,
    Command,
    task_of,
)

# Of the data that the paper pre-trained on (arXiv 1912.11370, section 4.1).
_UPSTREAM_IMAGES = {"BiT-S": 1_281_167, "BiT-M": 14_197_122, "BiT-L": 300_000_000}

# fmt: off
_COST_FLAGS = (
    (WHOLE, "classes", None, "size of the head; without it the model's upstream one"),
    (WHOLE, "resolution", None, "side of the training image, in pixels; without it 224 or what "
     "--task or --pretrain asks for"),
    (WHOLE, "batch_size", None, "images a step, over all devices; without it 32 or what --task or "
     "--pretrain asks for"),
    (WHOLE, "steps", None, "of the whole training: its images, and its hours on --device"),
    (TEXT, "dtype", None, "float32, mixed_bfloat16 or mixed_float16"),
    (TEXT, "remat", None, "'block' or 'unit': with these computed again on the way back"),
    (WHOLE, "batch_split", None, "go through each batch in so many slices"),
    (TEXT, "device", None, "such as A100, H100, RTX-4090, TPU-v3-core: its peak and its memory; "
     "without it a CPU"),
    (WHOLE, "num_devices", None, "so many of them share each batch"),
    (NUMBER, "efficiency", None, "the share of the device's peak that is reached; without it 0.3"),
    (NUMBER, "memory_gib", None, "the largest batch that fits so much memory of a device; without "
     "it the memory of --device"),
)
# fmt: on


def _run(values: flags.FlagValues) -> None:
    from bit_keras.costing.cost import cost
    from bit_keras.costing.tables import print_costs
    from bit_keras.zoo import list_models

    if values.task and values.pretrain:
        raise ValueError("--task and --pretrain were both given: give one of them.")
    task = task_of(values) if values.task else None
    given = {name: values[name].value for _, name, _, _ in _COST_FLAGS}
    given = {name: value for name, value in given.items() if value is not None}
    costs, title = {}, "A step of training"
    for name in [values.model] if values.model else list_models():
        plan = {}
        if task is not None:
            plan, title = _fine_tuning(name, task), f"The BiT-HyperRule on {task.name}"
        elif values.pretrain:
            plan, title = _pretraining(name), "The paper's pre-training"
        costs[name] = cost(name, **{**plan, **given})
    print_costs(costs, title)


def _fine_tuning(model: str, task) -> dict[str, int]:
    from bit_keras.hyperrule import HyperRule

    rule = HyperRule.for_task(task.num_examples, task.image_size, model)
    return {
        "classes": task.num_classes,
        "resolution": rule.crop,
        "batch_size": rule.batch_size,
        "steps": rule.steps,
    }


def _pretraining(model: str) -> dict[str, int]:
    from bit_keras.training.recipes import RECIPES
    from bit_keras.zoo import list_checkpoints

    list_checkpoints(model)  # raises for an unknown name
    family = model.rpartition("-")[0]
    rule = RECIPES[family].rule(_UPSTREAM_IMAGES[family])
    return {"resolution": rule.crop, "batch_size": rule.batch_size, "steps": rule.steps}


COMMAND = Command(
    "Say what a training needs: multiply-adds, memory, hours; without --model, of the whole zoo.",
    (
        (TEXT, "model", None, "a model of the zoo, such as BiT-M-R50x1; without it all of them"),
        (
            TEXT,
            "task",
            None,
            "fine-tuned by the BiT-HyperRule on it: 'digits', 'folder:PATH', "
            "cifar10, 'vtab/NAME', 'tfds:DATASET' and so on, as finetune takes it",
        ),
        (SWITCH, "pretrain", False, "pre-trained as in the paper, on the model's upstream data"),
        *_COST_FLAGS,
        *TASK_OPTION_FLAGS,
    ),
    _run,
)
