"""A vision transformer for small images: patches, attention, and the mean over tokens.

Dosovitskiy et al., *An image is worth 16x16 words*, 2021, in a size of our own, with the mean in
the place of the class token (as in their Appendix D.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same."""
        query, key, value = (
            torch.transpose(torch.unflatten(layer(x), 2, (self.heads, -1)), 1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(torch.matmul(query, torch.transpose(key, 2, 3)) * self.scale, -1)
        mixed = torch.transpose(torch.matmul(weights, value), 1, 2)
        y: Tensor = self.out(torch.flatten(mixed, 2))
        return y


class Layer(nn.Module):
    """Attention, and two linear layers, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same."""
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    """The network.

    Args:
        classes: how many outputs.
        in_channels: of the image.
        image_size: height and width, multiples of the patch.
        patch: pixels a side.
        width: of a token.
        depth: layers.
        heads: of the attention.
    """

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        image_size: tuple[int, int] = (32, 32),
        patch: int = 4,
        width: int = 48,
        depth: int = 4,
        heads: int = 3,
    ) -> None:
        super().__init__()
        tokens = (image_size[0] // patch) * (image_size[1] // patch)
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.position = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(depth)))
        self.norm, self.classifier = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to logits (n, classes)."""
        tokens = torch.transpose(torch.flatten(self.patches(x), 2), 1, 2) + self.position
        logits: Tensor = self.classifier(torch.mean(self.norm(self.layers(tokens)), 1))
        return logits
