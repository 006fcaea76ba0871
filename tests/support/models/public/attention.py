"""Transformers as people write them, and as torch has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 4


class Attention(nn.Module):
    """Heads from one projection, divided by unbind."""

    def __init__(self, dim: int, heads: int = 2, *, fused: bool = False) -> None:
        super().__init__()
        self.heads, self.scale, self.fused = heads, (dim // heads) ** -0.5, fused
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)
        self.attn_drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            attn = (q * self.scale) @ k.transpose(-2, -1)
            x = self.attn_drop(attn.softmax(dim=-1)) @ v
        x = x.transpose(1, 2).reshape(b, n, c)
        out: Tensor = self.proj(x)
        return out


class Block(nn.Module):
    """Norm, attention, norm, MLP, each around a residual."""

    def __init__(self, dim: int, *, fused: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, fused=fused)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """Patches, a class token, positions; reads (3, 32, 32)."""

    def __init__(self, dim: int = 16, *, fused: bool = False) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) / 4)
        self.pos = nn.Parameter(torch.randn(1, 17, dim) / 4)
        self.blocks = nn.Sequential(Block(dim, fused=fused), Block(dim, fused=fused))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), dim=1) + self.pos
        x = self.norm(self.blocks(x))
        out: Tensor = self.head(x[:, 0])
        return out


class MixerBlock(nn.Module):
    """An MLP across the tokens, and one across their features."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.across = nn.Sequential(nn.Linear(tokens, 8), nn.GELU(), nn.Linear(8, tokens))
        self.along = nn.Sequential(nn.Linear(dim, 32), nn.GELU(), nn.Linear(32, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.along(self.norm2(x))
        return out


class MlpMixer(nn.Module):
    """Reads (3, 32, 32)."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 8, 8)
        self.blocks = nn.Sequential(MixerBlock(16, dim), MixerBlock(16, dim))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        out: Tensor = self.head(self.norm(self.blocks(x)).mean(dim=1))
        return out


class Encoder(nn.Module):
    """Torch's own encoder layer and MultiheadAttention on features of time; reads (12, 16)."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(dim, 2, 32, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.fc = nn.Linear(dim, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(x)
        attended, _ = self.attention(x, x, x, need_weights=False)
        out: Tensor = self.fc((x + attended).mean(1))
        return out


class LiteMla(nn.Module):
    """EfficientViT's attention: ReLU in the place of softmax, and a division by a sum."""

    def __init__(self, channels: int, dim: int = 8) -> None:
        super().__init__()
        self.dim, self.eps = dim, 1e-5
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.aggreg = nn.Conv2d(3 * channels, 3 * channels, 5, padding=2, groups=3 * channels)
        self.proj = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        qkv = self.qkv(x)
        multi = torch.cat([qkv, self.aggreg(qkv)], dim=1)
        multi = multi.reshape(b, -1, 3 * self.dim, h * w).transpose(-1, -2)
        q, k, v = multi.chunk(3, dim=-1)
        q, k = F.relu(q), F.relu(k)
        v = F.pad(v, (0, 1), mode="constant", value=1.0)
        out = q @ (k.transpose(-1, -2) @ v)
        out = out[..., :-1] / (out[..., -1:] + self.eps)
        out = out.transpose(-1, -2).reshape(b, -1, h, w)
        found: Tensor = x + self.proj(out)
        return found


class EfficientViT(nn.Module):
    """Reads (3, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.attend = LiteMla(16)
        self.local = nn.Sequential(
            nn.Conv2d(16, 32, 1),
            nn.Hardswish(),
            nn.Conv2d(32, 32, 3, 2, 1, groups=32),
            nn.Hardswish(),
            nn.Conv2d(32, 16, 1, bias=False),
            nn.BatchNorm2d(16),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.local(self.attend(self.stem(x))))
        return out


class MobileViTBlock(nn.Module):
    """Patches unfolded from an image, a transformer over each place in them, and back."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.SiLU())
        self.to_dim, self.block = nn.Conv2d(channels, dim, 1, bias=False), Block(dim)
        self.norm, self.back = nn.LayerNorm(dim), nn.Conv2d(dim, channels, 1)
        self.fuse = nn.Conv2d(2 * channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.to_dim(self.local(x))
        b, c, h, w = y.shape
        ph, pw = h // 2, w // 2
        y = y.reshape(b * c * ph, 2, pw, 2).transpose(1, 2)
        y = y.reshape(b, c, ph * pw, 4).transpose(1, 3).reshape(b * 4, ph * pw, c)
        y = self.norm(self.block(y))
        y = y.contiguous().view(b, 4, ph * pw, c).transpose(1, 3)
        y = y.reshape(b * c * ph, pw, 2, 2).transpose(1, 2).reshape(b, c, h, w)
        out: Tensor = self.fuse(torch.cat((x, self.back(y)), dim=1))
        return out


class MobileViT(nn.Module):
    """Reads (3, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.SiLU(),
        )
        self.block = MobileViTBlock(8, 16)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(self.stem(x)))
        return out


class WindowAttention(nn.Module):
    """Swin's attention in windows, with a table of relative positions, and its shift by roll."""

    bias_index: Tensor

    def __init__(self, dim: int, window: int = 4, shift: int = 0, heads: int = 2) -> None:
        super().__init__()
        self.window, self.shift, self.heads = window, shift, heads
        self.scale = (dim // heads) ** -0.5
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads) / 8)
        at = torch.stack(torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij")).flatten(1)
        apart = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("bias_index", (apart[..., 0] * (2 * window - 1) + apart[..., 1]))
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        s = self.window
        if self.shift:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        x = x.view(b, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)
        n = s * s
        qkv = self.qkv(x).reshape(-1, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        bias = self.table[self.bias_index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()
        attn = (q * self.scale) @ k.transpose(-2, -1) + bias.unsqueeze(0)
        x = (attn.softmax(-1) @ v).transpose(1, 2).reshape(-1, n, c)
        x = self.proj(x).view(b, h // s, w // s, s, s, c).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(b, h, w, c)
        if self.shift:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        return x


class Swin(nn.Module):
    """Reads (3, 32, 32)."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        parts: list[Any] = [WindowAttention(dim), WindowAttention(dim, shift=2)]
        self.attention = nn.ModuleList(parts)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.norm, self.reduce = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)
        self.head = nn.Linear(2 * dim, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        for attention, norm in zip(self.attention, self.norms, strict=True):
            x = x + attention(norm(x))
            x = x + self.mlp(x)
        merged = [x[:, i::2, j::2, :] for j in (0, 1) for i in (0, 1)]
        x = self.reduce(self.norm(torch.cat(merged, -1)))
        out: Tensor = self.head(x.mean(dim=(1, 2)))
        return out
