"""Networks for sound, text and sensors as people write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 4


class DsCnn(nn.Module):
    """Keywords from 49 frames of 10 coefficients; reads (1, 49, 10)."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, channels, (10, 4), stride=(2, 2), padding=(5, 1), bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(0.2),
        ]
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers, nn.Dropout(0.4))
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x)).squeeze(-1).squeeze(-1)
        out: Tensor = self.fc(x)
        return out


class SubSpectralNorm(nn.Module):
    """A BatchNorm for each band of frequencies."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.bands, self.bn = bands, nn.BatchNorm2d(channels * bands)

    def forward(self, x: Tensor) -> Tensor:
        b, c, f, t = x.size()
        x = x.view(b, c * self.bands, f // self.bands, t)
        out: Tensor = self.bn(x).view(b, c, f, t)
        return out


class BcResBlock(nn.Module):
    """Frequencies apart, then one row of all of them, which every frequency gets back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.freq = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=channels)
        self.norm = SubSpectralNorm(channels, 4)
        self.time = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1), groups=channels)
        self.bn, self.point = nn.BatchNorm2d(channels), nn.Conv2d(channels, channels, 1)
        self.drop = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.freq(x))
        z = y.mean(2, keepdim=True)
        z = F.silu(self.bn(self.time(z)))
        z = self.drop(self.point(z))
        return F.relu(x + y + z)


class BcResNet(nn.Module):
    """Reads (1, 40, 32): frequencies and frames."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 5, (2, 1), 2), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.Sequential(BcResBlock(8), BcResBlock(8))
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        x = torch.mean(x, dim=2, keepdim=True)
        x = torch.mean(x, dim=3, keepdim=True)
        out: Tensor = self.head(x).squeeze(-1).squeeze(-1)
        return out


class Chomp1d(nn.Module):
    """Cuts off what padding on both sides has put behind the present."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.size].contiguous()


class TemporalBlock(nn.Module):
    """Two causal convolutions with dilation."""

    def __init__(self, ins: int, outs: int, dilation: int) -> None:
        super().__init__()
        pad = 2 * dilation
        self.net = nn.Sequential(
            nn.Conv1d(ins, outs, 3, padding=pad, dilation=dilation),
            Chomp1d(pad),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv1d(outs, outs, 3, padding=pad, dilation=dilation),
            Chomp1d(pad),
            nn.ReLU(),
        )
        self.downsample = nn.Conv1d(ins, outs, 1) if ins != outs else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        res = x if self.downsample is None else self.downsample(x)
        found: Tensor = self.relu(out + res)
        return found


class Tcn(nn.Module):
    """Reads (6, 32): sensors and time."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(TemporalBlock(6, 12, 1), TemporalBlock(12, 12, 2))
        self.linear = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.network(x)[:, :, -1])
        return out


class M5(nn.Module):
    """A network on the wave itself: Conv1d, BatchNorm1d and MaxPool1d; reads (1, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.pool1 = (
            nn.Conv1d(1, 8, 16, 4),
            nn.BatchNorm1d(8),
            nn.MaxPool1d(4),
        )
        self.conv2, self.bn2, self.pool2 = nn.Conv1d(8, 16, 3), nn.BatchNorm1d(16), nn.MaxPool1d(4)
        self.fc1 = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = F.avg_pool1d(x, x.shape[-1])
        x = x.permute(0, 2, 1)
        x = self.fc1(x)
        return x.squeeze(1)


class Crnn(nn.Module):
    """Lines of text: convolutions to a row, two LSTMs, letters; reads (1, 16, 32)."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 8, 3, 1, 1),
            nn.ReLU(True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 16, 3, 1, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(True),
            nn.MaxPool2d((2, 2), (2, 2)),
            nn.Conv2d(16, 16, (4, 1)),
            nn.ReLU(True),
        )
        self.rnn = nn.LSTM(16, hidden, bidirectional=True, batch_first=True)
        self.embedding = nn.Linear(hidden * 2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.cnn(x).squeeze(2).permute(0, 2, 1)
        recurrent, _ = self.rnn(conv)
        out: Tensor = self.embedding(recurrent)
        return out


class GruDenoiser(nn.Module):
    """A mask for each frequency; reads (12, 16): frames and bands."""

    def __init__(self, bands: int = 16, hidden: int = 12) -> None:
        super().__init__()
        self.dense, self.gru = nn.Linear(bands, hidden), nn.GRU(hidden, hidden, batch_first=True)
        self.gains = nn.Linear(hidden, bands)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.dense(x))
        y, _ = self.gru(y)
        return torch.sigmoid(self.gains(y)) * x


class LstmClassifier(nn.Module):
    """The last state of two LSTM layers; reads (10, 6): time and sensors."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, hidden, num_layers=2, batch_first=True)
        self.fc = nn.Linear(hidden, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out, (_, _) = self.lstm(x)
        found: Tensor = self.fc(out[:, -1, :])
        return found


class TextCnn(nn.Module):
    """Words by number, convolutions of three lengths, their maxima; reads (20,) int64."""

    def __init__(self, words: int = 50, dim: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, dim)
        self.convs = nn.ModuleList(nn.Conv1d(dim, 6, k) for k in (2, 3, 4))
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(18, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x).transpose(1, 2)
        pooled = [F.relu(conv(y)).max(dim=2)[0] for conv in self.convs]
        out: Tensor = self.fc(self.dropout(torch.cat(pooled, 1)))
        return out
