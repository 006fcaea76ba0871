"""The networks by the name a user types, and the published sizes that they are compared with.

Nothing here imports torch or builds a network, so that a listing is fast; the tests build and count
every row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["images", "graphs"]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A network that can be built by name.

    Attributes:
        name: what the user types.
        family: which layout.
        depth: layers with weights along the longest path; steps of a graph network.
        summary: one line for people.
        factory: ``module:callable`` that makes it, given the options, ``classes`` and
            ``in_channels``.
        options: what the factory is called with.
        reads: what goes in.
        sized: whether its weights depend on the size of the image, so that the factory takes
            ``image_size`` too.
        least_size: the smallest image, in pixels a side.
        task: what it answers, by the name of an entry point of ``edgeq.tasks``.
    """

    name: str
    family: str
    depth: int
    summary: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reads: Kind = "images"
    sized: bool = False
    least_size: int = 4
    task: str = "top1"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A published configuration, with what our network of that name really has.

    Attributes:
        name: the name to build it by.
        family: which layout.
        classes: how many outputs.
        input_shape: channels, height and width of the published images; nodes and features of a
            graph.
        params: trainable numbers, shared ones once.
        macs: multiply-accumulates for one image, or for one graph.
        published_params: the count as the source prints it, in millions; empty where it prints
            none.
        source: where the configuration is printed.
    """

    name: str
    family: str
    classes: int
    input_shape: tuple[int, ...]
    params: int
    macs: int
    published_params: str
    source: str


def _resnets() -> Iterator[ModelEntry]:
    resnet, stable = "edgeq.models.resnet:ResNet", "edgeq.models.stable_resnet:StableResNet"
    wide = (64, 128, 256, 512)
    for n in (8, 20, 32, 44, 56):
        yield ModelEntry(
            f"resnet{n}",
            "resnet",
            n,
            f"ResNet-{n} with 1x1 projection shortcuts",
            resnet,
            {"blocks": (n - 2) // 6},
        )
    for n, blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):
        summary = f"ResNet-{n} with a 3x3 stem, for small images"
        yield ModelEntry(
            f"resnet{n}", "resnet", n, summary, resnet, {"blocks": blocks, "widths": wide}
        )
    yield ModelEntry(
        "resnet50",
        "resnet",
        50,
        "ResNet-50 of bottleneck blocks with a 3x3 stem, for small images",
        resnet,
        {"blocks": (3, 4, 6, 3), "widths": wide, "block": "bottleneck"},
    )
    narrow = {"blocks": 9, "widths": (8, 16, 32)}
    summary = "ResNet-56 of half the widths, 8 to 32"
    yield ModelEntry("resnet56-narrow", "resnet", 56, summary, resnet, narrow)
    for n in (8, 20, 32, 44, 56):
        options = {"blocks": (n - 2) // 6, "shortcut": "pad"}
        yield ModelEntry(
            f"resnet{n}-a",
            "resnet-a",
            n,
            f"ResNet-{n} with zero-padded shortcuts (option A)",
            resnet,
            options,
        )
    for suffix, mode, words in (
        ("", "paper", "half the weights"),
        ("-certified", "certified", "with steps that provably do not expand"),
    ):
        for n in (8, 20, 56):
            options = {"blocks": (n - 2) // 6, "mode": mode}
            yield ModelEntry(
                f"stable-resnet{n}{suffix}",
                "stable-resnet",
                n,
                f"symmetric ResNet-{n}, {words}",
                stable,
                options,
            )
        yield ModelEntry(
            f"stable-resnet56-narrow{suffix}",
            "stable-resnet",
            56,
            f"symmetric ResNet-56 of half the widths, {words}",
            stable,
            {**narrow, "mode": mode},
        )
        options = {"blocks": (3, 4, 6, 3), "widths": wide, "mode": mode}
        yield ModelEntry(
            f"stable-resnet34{suffix}",
            "stable-resnet",
            34,
            f"symmetric ResNet-34, {words}",
            stable,
            options,
        )


def _mobilenets() -> Iterator[ModelEntry]:
    factory = "edgeq.models.mobilenet_v2:MobileNetV2"
    family = "mobilenetv2"
    yield ModelEntry(
        family, family, 54, "MobileNetV2 for small images", factory, {"layout": "baseline"}
    )
    for suffix, mode in (("", "paper"), ("-certified", "certified")):
        for name, layout, depth, words in (
            ("", "released", 64, "where shape and channels stay"),
            ("-all", "paper", 71, "in every block"),
        ):
            summary = (
                "MobileNetV2 with symmetric steps "
                f"{words}{', which provably do not expand' if suffix else ''}"
            )
            options = {"layout": layout, "mode": mode}
            yield ModelEntry(
                f"stable-{family}{name}{suffix}",
                f"stable-{family}",
                depth,
                summary,
                factory,
                options,
                least_size=24,
            )


def _separable() -> Iterator[ModelEntry]:
    kinds: tuple[tuple[str, str, dict[str, Any], int, str], ...] = (
        ("mobilenetv1", "mobilenet_v1", {}, 28, "MobileNet-V1 for 32x32 pixels"),
        (
            "dws-convnet",
            "small",
            {"convolution": "depthwise"},
            13,
            "small depthwise separable network",
        ),
        (
            "regular-convnet",
            "small",
            {"convolution": "regular"},
            8,
            "small network of regular convolutions",
        ),
    )
    for name, function, options, depth, words in kinds:
        for initialization in ("he", "glorot"):
            for suffix, gamma in (("", True), ("-nogamma", False)):
                summary = (
                    f"{words}, {initialization.title()}'s "
                    f"initialisation{'' if gamma else ', BatchNorm without scales'}"
                )
                own = {**options, "initialization": initialization, "gamma": gamma}
                yield ModelEntry(
                    f"{name}-{initialization}{suffix}",
                    name,
                    depth,
                    summary,
                    f"edgeq.models.separable:{function}",
                    own,
                )


def _others() -> Iterator[ModelEntry]:
    vgg, mlp, gcn = "edgeq.models.vgg:VGG", "edgeq.models.mlp:MLP", "edgeq.models.pde_gcn:PdeGcn"
    yield ModelEntry(
        "vgg19", "vgg", 19, "VGG-19 as published, without BatchNorm", vgg, sized=True, least_size=32
    )
    small = {"batch_norm": True, "hidden": ()}
    yield ModelEntry(
        "vgg19-bn",
        "vgg",
        17,
        "VGG-19's convolutions with BatchNorm, for small images",
        vgg,
        small,
        sized=True,
        least_size=32,
    )
    for depth in (5, 7, 9, 11):
        yield ModelEntry(
            f"mlp{depth}",
            "mlp",
            depth,
            f"fully connected, {depth} layers, 256 wide",
            mlp,
            {"depth": depth},
            sized=True,
        )
    binary = {"depth": 4, "width": 1024, "batch_norm": True}
    yield ModelEntry(
        "mlp-3x1024",
        "mlp",
        4,
        "BinaryConnect's fully connected network, with BatchNorm",
        mlp,
        binary,
        sized=True,
    )
    signed = {**binary, "signed": True}
    yield ModelEntry(
        "mlp-3x1024-signed",
        "mlp",
        4,
        "the same without inner ReLUs, for activations that are signs",
        mlp,
        signed,
        sized=True,
    )
    for name, symmetric, words in (
        ("pde-gcn", False, "two operators a step"),
        ("stable-pde-gcn", True, "an operator and its transpose"),
    ):
        for width in (64, 256):
            options = {"width": width, "symmetric": symmetric}
            yield ModelEntry(
                f"{name}-{width}",
                name,
                32,
                f"PDE-GCN_D, {width} channels, {words}",
                gcn,
                options,
                "graphs",
            )


def _tasks() -> Iterator[ModelEntry]:
    folder = "edgeq.models.tasks"
    yield ModelEntry(
        "yolo-tiny",
        "yolo",
        30,
        "detector with C2f, SPPF and DFL heads, strides 4 and 8",
        f"{folder}.yolo:Yolo",
        least_size=16,
        task="mAP",
    )
    yield ModelEntry(
        "unet-tiny",
        "unet",
        15,
        "U-Net of four sizes, for segmentation",
        f"{folder}.unet:UNet",
        least_size=16,
        task="mIoU",
    )
    yield ModelEntry(
        "ds-cnn",
        "ds-cnn",
        10,
        "DS-CNN for keywords, four separable layers",
        f"{folder}.ds_cnn:DsCnn",
        least_size=10,
    )
    yield ModelEntry(
        "mobilenetv3-small",
        "mobilenetv3",
        54,
        "MobileNetV3-small for small images",
        f"{folder}.mobilenet_v3:MobileNetV3",
    )
    yield ModelEntry(
        "vit-tiny",
        "vit",
        26,
        "vision transformer of four layers, patches of 4x4",
        f"{folder}.vit:VisionTransformer",
        sized=True,
    )
    yield ModelEntry(
        "gru-denoiser",
        "gru",
        3,
        "GRU with a gate for each feature, for denoising",
        f"{folder}.gru:GruDenoiser",
        task="rmse",
    )


ENTRIES: Mapping[str, ModelEntry] = {
    entry.name: entry
    for entry in (*_resnets(), *_mobilenets(), *_separable(), *_others(), *_tasks())
}
"""Family by family, the smaller first."""
