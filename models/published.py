"""The published configurations, counted beforehand.

A test builds and runs each of them and holds this table to it.
"""

from __future__ import annotations

from edgeq.models.catalogue import ENTRIES, ModelSpec

_HE = "He, Zhang, Ren, Sun, Deep residual learning for image recognition, 2016, Table 6"
_BEN_YAIR = (
    "Ben-Yair, Eliasof, Treister, Quantized convolutional neural networks through the lens of "
    "partial differential equations, 2022"
)
_YUN = "Yun, Wong, Do all MobileNets quantize poorly?, 2021, Table 1"
_VGG = (
    "Simonyan, Zisserman, Very deep convolutional networks for large-scale image recognition, "
    "2015, Table 2"
)
_BINARY = "Courbariaux, Bengio, David, BinaryConnect, 2015, Table 1"
_CIFAR = (3, 32, 32)
_CORA, _CITESEER, _PUBMED = (2708, 1433), (3327, 3703), (19717, 500)

EDGES = {_CORA: 10_556, _CITESEER: 9_104, _PUBMED: 88_648}
"""Directed edges of the graphs, each pair of nodes once a direction, by nodes and features."""

_ROWS: tuple[tuple[str, int, tuple[int, ...], int, int, str, str], ...] = (
    ("resnet20-a", 10, _CIFAR, 269_722, 40_551_040, "0.27", _HE),
    ("resnet32-a", 10, _CIFAR, 464_154, 68_862_592, "0.46", _HE),
    ("resnet44-a", 10, _CIFAR, 658_586, 97_174_144, "0.66", _HE),
    ("resnet56-a", 10, _CIFAR, 853_018, 125_485_696, "0.85", _HE),
    ("resnet56", 10, _CIFAR, 855_770, 125_747_840, "0.85", f"{_BEN_YAIR}, Table 1"),
    ("stable-resnet56", 10, _CIFAR, 405_850, 127_844_992, "0.41", f"{_BEN_YAIR}, Table 1"),
    ("mobilenetv2", 10, _CIFAR, 2_236_074, 87_386_624, "2.20", f"{_BEN_YAIR}, Table 1"),
    ("stable-mobilenetv2", 10, _CIFAR, 1_719_306, 88_889_984, "1.70", f"{_BEN_YAIR}, Table 1"),
    ("resnet34", 100, _CIFAR, 21_328_292, 1_159_448_576, "21.3", f"{_BEN_YAIR}, Table 2"),
    ("stable-resnet34", 100, _CIFAR, 9_061_284, 1_209_780_224, "9.60", f"{_BEN_YAIR}, Table 2"),
    ("resnet56", 100, _CIFAR, 861_620, 125_753_600, "0.86", f"{_BEN_YAIR}, Table 2"),
    ("stable-resnet56", 100, _CIFAR, 411_700, 127_850_752, "0.41", f"{_BEN_YAIR}, Table 2"),
    ("mobilenetv2", 100, _CIFAR, 2_351_364, 87_501_824, "2.30", f"{_BEN_YAIR}, Table 2"),
    ("stable-mobilenetv2", 100, _CIFAR, 1_834_596, 89_005_184, "1.80", f"{_BEN_YAIR}, Table 2"),
    ("pde-gcn-64", 7, _CORA, 354_304, 3_059_998_720, "0.35", f"{_BEN_YAIR}, Table 3"),
    ("stable-pde-gcn-64", 7, _CORA, 223_232, 3_059_998_720, "0.22", f"{_BEN_YAIR}, Table 3"),
    ("pde-gcn-256", 6, _CITESEER, 5_143_808, 41_493_103_360, "5.14", f"{_BEN_YAIR}, Table 3"),
    (
        "stable-pde-gcn-256",
        6,
        _CITESEER,
        3_046_656,
        41_493_103_360,
        "3.04",
        f"{_BEN_YAIR}, Table 3",
    ),
    ("pde-gcn-256", 3, _PUBMED, 4_323_072, 375_807_988_480, "4.32", f"{_BEN_YAIR}, Table 3"),
    ("stable-pde-gcn-256", 3, _PUBMED, 2_225_920, 375_807_988_480, "2.22", f"{_BEN_YAIR}, Table 3"),
    ("mobilenetv1-he", 10, _CIFAR, 3_217_226, 62_937_088, "", _YUN),
    ("mobilenetv1-he-nogamma", 10, _CIFAR, 3_206_282, 62_937_088, "", _YUN),
    ("mobilenetv1-glorot", 10, _CIFAR, 3_217_226, 62_937_088, "", _YUN),
    ("mobilenetv1-glorot-nogamma", 10, _CIFAR, 3_206_282, 62_937_088, "", _YUN),
    ("dws-convnet-he", 10, _CIFAR, 138_634, 4_973_056, "", _YUN),
    ("dws-convnet-he-nogamma", 10, _CIFAR, 137_546, 4_973_056, "", _YUN),
    ("dws-convnet-glorot", 10, _CIFAR, 138_634, 4_973_056, "", _YUN),
    ("dws-convnet-glorot-nogamma", 10, _CIFAR, 137_546, 4_973_056, "", _YUN),
    ("regular-convnet-he", 10, _CIFAR, 641_962, 33_982_976, "", _YUN),
    ("regular-convnet-he-nogamma", 10, _CIFAR, 641_290, 33_982_976, "", _YUN),
    ("regular-convnet-glorot", 10, _CIFAR, 641_962, 33_982_976, "", _YUN),
    ("regular-convnet-glorot-nogamma", 10, _CIFAR, 641_290, 33_982_976, "", _YUN),
    ("vgg19", 1000, (3, 224, 224), 143_667_240, 19_632_062_464, "144", _VGG),
    ("mlp-3x1024", 10, (1, 28, 28), 2_916_372, 2_910_208, "", _BINARY),
)
PUBLISHED = tuple(
    ModelSpec(name, ENTRIES[name].family, classes, shape, params, macs, printed, source)
    for name, classes, shape, params, macs, printed, source in _ROWS
)
"""By table. The 9.60 million of the stable ResNet-34 are read as 9.06: no layout has 9.60."""
