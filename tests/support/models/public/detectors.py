"""Detectors as people write them: YOLO of three generations, FastestDet, a heatmap of centres."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 4
BINS = 8  # of a distance, in the distribution that YOLOv8's heads predict


class Conv(nn.Module):
    """A convolution, its BatchNorm and SiLU."""

    def __init__(self, ins: int, outs: int, k: int = 1, s: int = 1, g: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ins, outs, k, s, k // 2, groups=g, bias=False)
        self.bn = nn.BatchNorm2d(outs)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class Bottleneck(nn.Module):
    """Two convolutions, and what they read."""

    def __init__(self, channels: int, shortcut: bool = True) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels, 3), Conv(channels, channels, 3)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))
        return out


class C3(nn.Module):
    """YOLOv5's block: two ways, one of which is deep."""

    def __init__(self, ins: int, outs: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outs // 2
        self.cv1, self.cv2, self.cv3 = Conv(ins, half), Conv(ins, half), Conv(2 * half, outs)
        self.m = nn.Sequential(Bottleneck(half, shortcut))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return out


class C2f(nn.Module):
    """YOLOv8's block: halves in a list, to which every step adds one."""

    def __init__(self, ins: int, outs: int, n: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        half = outs // 2
        self.cv1, self.cv2 = Conv(ins, 2 * half), Conv((2 + n) * half, outs)
        self.m = nn.ModuleList(Bottleneck(half, shortcut) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        out: Tensor = self.cv2(torch.cat(y, 1))
        return out


class SPPF(nn.Module):
    """Three poolings after each other, with everything between them."""

    def __init__(self, ins: int, outs: int, k: int = 5) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(ins, ins // 2), Conv(ins * 2, outs)
        self.m = nn.MaxPool2d(kernel_size=k, stride=1, padding=k // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        out: Tensor = self.cv2(torch.cat(y, 1))
        return out


class Attention(nn.Module):
    """The attention over pixels of YOLO11's C2PSA, with its convolution for the positions."""

    def __init__(self, dim: int, num_heads: int = 2) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.key_dim = self.head_dim // 2
        self.scale = self.key_dim**-0.5
        self.qkv = nn.Conv2d(dim, dim + 2 * self.key_dim * num_heads, 1)
        self.proj, self.pe = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 3, 1, 1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        n = h * w
        qkv = self.qkv(x)
        q, k, v = qkv.view(b, self.num_heads, self.key_dim * 2 + self.head_dim, n).split(
            [self.key_dim, self.key_dim, self.head_dim], dim=2
        )
        attn = (q.transpose(-2, -1) @ k) * self.scale
        attn = attn.softmax(dim=-1)
        y = (v @ attn.transpose(-2, -1)).view(b, c, h, w) + self.pe(v.reshape(b, c, h, w))
        out: Tensor = self.proj(y)
        return out


class C2PSA(nn.Module):
    """YOLO11's block of attention on one half of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c = channels // 2
        self.cv1, self.cv2 = Conv(channels, 2 * self.c), Conv(2 * self.c, channels)
        self.attn = Attention(self.c)
        self.ffn = nn.Sequential(Conv(self.c, 2 * self.c), Conv(2 * self.c, self.c))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cv1(x).split((self.c, self.c), dim=1)
        b = b + self.attn(b)
        b = b + self.ffn(b)
        out: Tensor = self.cv2(torch.cat((a, b), 1))
        return out


class DFL(nn.Module):
    """A distance as the mean of a distribution: softmax, and a fixed convolution."""

    def __init__(self, bins: int = BINS) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(bins, dtype=torch.float).view(1, bins, 1, 1)
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        b, _, a = x.shape
        out: Tensor = self.conv(x.view(b, 4, self.bins, a).transpose(2, 1).softmax(1)).view(b, 4, a)
        return out


class DetectV5(nn.Module):
    """Anchors and cells: sigmoid, then arithmetic with the grid."""

    grid: Tensor
    anchors: Tensor

    def __init__(self, channels: int, size: int, stride: int) -> None:
        super().__init__()
        self.na, self.no, self.stride = 3, CLASSES + 5, stride
        self.m = nn.Conv2d(channels, self.na * self.no, 1)
        y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        self.register_buffer("grid", torch.stack((x, y), 2).float().view(1, 1, size, size, 2) - 0.5)
        self.register_buffer("anchors", (torch.rand(1, 3, 1, 1, 2) + 0.5) * stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.m(x)
        b, _, ny, nx = x.shape
        x = x.view(b, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
        xy, wh, conf = x.sigmoid().split((2, 2, CLASSES + 1), 4)
        xy = (xy * 2 + self.grid) * self.stride
        wh = (wh * 2) ** 2 * self.anchors
        return torch.cat((xy, wh, conf), 4).view(b, -1, self.no)


class DetectV8(nn.Module):
    """Decoupled heads on two scales, the distribution of distances, and boxes around anchors."""

    anchors: Tensor
    strides: Tensor

    def __init__(self, channels: tuple[int, ...], sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.no = CLASSES + 4 * BINS
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, 4 * BINS, 1)) for c in channels
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3, g=1), nn.Conv2d(16, CLASSES, 1)) for c in channels
        )
        self.dfl = DFL()
        points, strides = [], []
        for size in sizes:
            at = torch.arange(size) + 0.5
            y, x = torch.meshgrid(at, at, indexing="ij")
            points.append(torch.stack((x, y), -1).view(-1, 2))
            strides.append(torch.full((size * size, 1), 64.0 / size))
        self.register_buffer("anchors", torch.cat(points).transpose(0, 1).unsqueeze(0))
        self.register_buffer("strides", torch.cat(strides).transpose(0, 1))

    def forward(self, x: list[Tensor]) -> Tensor:
        for i in range(len(x)):
            x[i] = torch.cat((self.cv2[i](x[i]), self.cv3[i](x[i])), 1)
        shape = x[0].shape
        x_cat = torch.cat([xi.view(shape[0], self.no, -1) for xi in x], 2)
        box, cls = x_cat.split((4 * BINS, CLASSES), 1)
        lt, rb = self.dfl(box).chunk(2, 1)
        x1y1, x2y2 = self.anchors - lt, self.anchors + rb
        c_xy, wh = (x1y1 + x2y2) / 2, x2y2 - x1y1
        dbox = torch.cat((c_xy, wh), 1) * self.strides
        return torch.cat((dbox, cls.sigmoid()), 1)


class YoloV5(nn.Module):
    """Reads (3, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, 8, 6 - 1, 2), Conv(8, 16, 3, 2), C3(16, 16))
        self.deep = nn.Sequential(Conv(16, 32, 3, 2), C3(32, 32), SPPF(32, 32), Conv(32, 16))
        self.up = nn.Upsample(None, 2, "nearest")
        self.join = C3(32, 16, False)
        self.detect = DetectV5(16, 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.stem(x)
        out: Tensor = self.detect(self.join(torch.cat([self.up(self.deep(shallow)), shallow], 1)))
        return out


class YoloV8(nn.Module):
    """Reads (3, 64, 64)."""

    def __init__(self, *, attention: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, 8, 3, 2), Conv(8, 16, 3, 2), C2f(16, 16, 1, True))
        self.deep = nn.Sequential(Conv(16, 32, 3, 2), C2f(32, 32, 1, True), SPPF(32, 32))
        self.attn = C2PSA(32) if attention else nn.Identity()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.join = C2f(48, 16)
        self.detect = DetectV8((16, 32), (16, 8))

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.stem(x)
        deep = self.attn(self.deep(shallow))
        joined = self.join(torch.cat([self.up(deep), shallow], 1))
        out: Tensor = self.detect([joined, deep])
        return out


class FastestDet(nn.Module):
    """ShuffleNet blocks, one scale, a head of depthwise convolutions and a softmax of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.right = nn.Sequential(
            nn.Conv2d(8, 8, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
        )
        self.down = nn.AvgPool2d(3, 2, 1)
        self.obj, self.reg, self.cls = (self._head(n) for n in (1, 4, CLASSES))
        self.sigmoid, self.softmax = nn.Sigmoid(), nn.Softmax(dim=1)

    @staticmethod
    def _head(outs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(32, 32, 5, 1, 2, groups=32, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, outs, 1),
        )

    @staticmethod
    def shuffle(x: Tensor) -> tuple[Tensor, Tensor]:
        b, c, h, w = x.data.size()
        x = x.reshape(b * c // 2, 2, h * w)
        x = x.permute(1, 0, 2)
        x = x.reshape(2, -1, c // 2, h, w)
        return x[0], x[1]

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.first(x))
        left, right = x[:, ::2], x[:, 1::2]
        x = torch.cat((left, self.right(right)), 1)
        x = torch.cat((F.interpolate(self.down(x), scale_factor=2), x), dim=1)
        return torch.cat(
            (self.sigmoid(self.obj(x)), self.reg(x).tanh(), self.softmax(self.cls(x))), dim=1
        )


class CenterNet(nn.Module):
    """Transposed convolutions up to a heatmap, whose peaks a pooling keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(True), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(True)
        )
        self.up = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True)
        )
        self.heat, self.size = nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.up(self.down(x))
        heat = torch.sigmoid(self.heat(x))
        return {
            "heat": heat,
            "peaks": F.max_pool2d(heat, 3, stride=1, padding=1),
            "wh": self.size(x),
        }
