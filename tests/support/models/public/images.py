"""Segmentation, restoration and anomaly detection as people write them."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 4


class DoubleConv(nn.Module):
    """Twice a convolution, a BatchNorm and a ReLU."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(ins, outs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outs, outs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.double_conv(x)
        return out


class Up(nn.Module):
    """Larger by a transposed convolution or between pixels, padded to what it is joined with."""

    def __init__(self, ins: int, outs: int, *, bilinear: bool) -> None:
        super().__init__()
        self.up: nn.Module
        if bilinear:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(ins, ins // 2, 1),
            )
        else:
            self.up = nn.ConvTranspose2d(ins, ins // 2, kernel_size=2, stride=2)
        self.conv = DoubleConv(ins, outs)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        x1 = self.up(x1)
        dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        out: Tensor = self.conv(torch.cat([x2, x1], dim=1))
        return out


class UNet(nn.Module):
    """Reads (3, 32, 32)."""

    def __init__(self, *, bilinear: bool = False) -> None:
        super().__init__()
        self.inc = DoubleConv(3, 8)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(16, 32))
        self.up1 = Up(32, 16, bilinear=bilinear)
        self.up2 = Up(16, 8, bilinear=bilinear)
        self.outc = nn.Conv2d(8, CLASSES, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        out: Tensor = self.outc(self.up2(self.up1(x3, x2), x1))
        return out


class Autoencoder(nn.Module):
    """Strided convolutions down, strided transposed ones up, as for anomalies on images."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 8, 7),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 16, 7),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.decoder(self.encoder(x))
        return out


class DenseAutoencoder(nn.Module):
    """Fully connected layers on features, as for the sounds of machines."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        sizes = (features, 32, 32, 8, 32, 32)
        layers: list[nn.Module] = []
        for ins, outs in itertools.pairwise(sizes):
            layers += [nn.Linear(ins, outs), nn.BatchNorm1d(outs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], features))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class SuperResolution(nn.Module):
    """ESPCN: all convolutions at the small size, then pixels from channels."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 5, 1, 2), nn.Conv2d(16, 8, 3, 1, 1)
        self.conv3 = nn.Conv2d(8, factor**2, 3, 1, 1)
        self.pixel_shuffle = nn.PixelShuffle(factor)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv1(x))
        x = torch.tanh(self.conv2(x))
        return torch.sigmoid(self.pixel_shuffle(self.conv3(x)))
