"""Every family of the support matrix: what builds it, what it reads, and what may stay in float."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tests.support.models.public import attention, detectors, images, signals
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Family:
    """A family of networks.

    Attributes:
        name: for people.
        source: the package that has the code; ``torch`` for code written in the public style here.
        build: makes the network.
        shape: of one sample.
        tokens: how many different numbers an integer input has; 0 for floats.
    """

    name: str
    source: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 64, 64)
    tokens: int = 0

    def samples(self, count: int, seed: int = 0) -> Tensor:
        """Random samples, (count, *shape): float32 of unit variance, or int64 tokens."""
        generator = torch.Generator().manual_seed(seed)
        if self.tokens:
            return torch.randint(self.tokens, (count, *self.shape), generator=generator)
        return torch.randn(count, *self.shape, generator=generator)


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        timm: Any = importlib.import_module("timm")
        made: nn.Module = timm.create_model(name, num_classes=10, **options)
        return made

    return build


def _torchvision(path: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        module, _, name = path.rpartition(".")
        package: Any = importlib.import_module(f"torchvision.models{'.' * bool(module)}{module}")
        made: nn.Module = getattr(package, name)(**options)
        return made

    return build


class _Heads(nn.Module):
    """The backbone of an SSD and its heads, without the decoding of boxes that follows."""

    def __init__(self) -> None:
        super().__init__()
        detection: Any = importlib.import_module("torchvision.models.detection")
        model = detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=5
        )
        self.backbone, self.head = model.backbone, model.head

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.head(list(self.backbone(x).values()))
        return found


_PLAIN: dict[str, Any] = {"weights": None}
_SEGMENTING: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": 5}

FAMILIES = (
    Family("MobileNetV2", "torchvision", _torchvision("mobilenet_v2", width_mult=0.35)),
    Family("MobileNetV3", "torchvision", _torchvision("mobilenet_v3_small", **_PLAIN)),
    Family("MobileNetV4", "timm", _timm("mobilenetv4_conv_small_035")),
    Family("EfficientNet-Lite", "timm", _timm("efficientnet_lite0")),
    Family("EfficientNet-B0", "torchvision", _torchvision("efficientnet_b0", **_PLAIN)),
    Family("ResNet", "torchvision", _torchvision("resnet18", **_PLAIN)),
    Family("ShuffleNetV2", "torchvision", _torchvision("shufflenet_v2_x0_5", **_PLAIN)),
    Family("RegNet", "torchvision", _torchvision("regnet_y_400mf", **_PLAIN)),
    Family("ConvNeXt", "timm", _timm("convnext_atto")),
    Family("YOLOv5", "torch", detectors.YoloV5),
    Family("YOLOv8", "torch", detectors.YoloV8),
    Family("YOLO11", "torch", lambda: detectors.YoloV8(attention=True)),
    Family("SSDLite", "torchvision", _Heads, (3, 128, 128)),
    Family("FastestDet", "torch", detectors.FastestDet),
    Family("CenterNet", "torch", detectors.CenterNet, (3, 32, 32)),
    Family("U-Net, transposed convolutions", "torch", images.UNet, (3, 32, 32)),
    Family("U-Net, bilinear", "torch", lambda: images.UNet(bilinear=True), (3, 32, 32)),
    Family(
        "DeepLabV3",
        "torchvision",
        _torchvision("segmentation.deeplabv3_mobilenet_v3_large", **_SEGMENTING),
    ),
    Family(
        "LR-ASPP",
        "torchvision",
        _torchvision("segmentation.lraspp_mobilenet_v3_large", **_SEGMENTING),
    ),
    Family("ESPCN", "torch", images.SuperResolution, (1, 16, 16)),
    Family("Autoencoder of images", "torch", images.Autoencoder, (3, 28, 28)),
    Family("Autoencoder of features", "torch", images.DenseAutoencoder, (64,)),
    Family("DS-CNN", "torch", signals.DsCnn, (1, 49, 10)),
    Family("BC-ResNet", "torch", signals.BcResNet, (1, 40, 32)),
    Family("M5", "torch", signals.M5, (1, 256)),
    Family("TCN", "torch", signals.Tcn, (6, 32)),
    Family("CRNN", "torch", signals.Crnn, (1, 16, 32)),
    Family("GRU", "torch", signals.GruDenoiser, (12, 16)),
    Family("LSTM", "torch", signals.LstmClassifier, (10, 6)),
    Family("TextCNN", "torch", signals.TextCnn, (20,), tokens=50),
    Family("ViT", "torch", attention.ViT, (3, 32, 32)),
    Family(
        "ViT-tiny, fused attention",
        "timm",
        _timm("vit_tiny_patch16_224", img_size=64, embed_dim=48, depth=2),
    ),
    Family("Transformer encoder", "torch", attention.Encoder, (12, 16)),
    Family("MobileViT", "torch", attention.MobileViT, (3, 32, 32)),
    Family("EfficientViT", "torch", attention.EfficientViT, (3, 32, 32)),
    Family("Swin", "torch", attention.Swin, (3, 32, 32)),
    Family("MLP-Mixer", "torch", attention.MlpMixer, (3, 32, 32)),
)
