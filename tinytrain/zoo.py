"""Three small pre-LN transformers, written out: what the examples pre-train and the device adapts.

Layers are plain ``nn.Linear``, ``nn.LayerNorm`` and ``nn.Embedding`` with the names that update
schemes use: ``embed`` or ``convs.{i}``, ``blocks.{i}.ln1 q k v o ln2 f1 f2``, ``norm``, ``pool``,
``head``. No dropout, no data-dependent code, so ``torch.export`` takes them with a batch of one.

Letters: B batch, T tokens, C channels, H heads, W window (samples), K classes, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Pre-LN transformer block, ``[B, T, C] -> [B, T, C]``; feed-forward width ``ratio`` C."""

    def __init__(self, d: int, heads: int, mask: Tensor | None = None, ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(d)
        self.q = nn.Linear(d, d)
        self.k = nn.Linear(d, d)
        self.v = nn.Linear(d, d)
        self.o = nn.Linear(d, d)
        self.ln2 = nn.LayerNorm(d)
        self.f1 = nn.Linear(d, ratio * d)
        self.f2 = nn.Linear(ratio * d, d)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.ln1(x))
        feed: Tensor = self.f2(functional.gelu(self.f1(self.ln2(x))))
        return x + feed

    def attention(self, x: Tensor) -> Tensor:
        """Multi-head attention of normalised tokens ``[B, T, C]``; a True in ``mask`` hides."""
        batch, tokens, d = x.shape

        def split(y: Tensor) -> Tensor:  # [B, T, C] -> [B, H, T, C/H]
            return y.reshape(batch, tokens, self.heads, d // self.heads).transpose(1, 2)

        q, k, v = split(self.q(x)), split(self.k(x)), split(self.v(x))
        scores = q @ k.transpose(2, 3) * (1.0 / math.sqrt(d // self.heads))  # [B, H, T, T]
        if isinstance(self.mask, Tensor):
            scores = scores.masked_fill(self.mask, -math.inf)
        mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, d)
        out: Tensor = self.o(mixed)
        return out


class SensorTransformer(nn.Module):
    """Classify a window of sensor samples, ``[B, W, C] -> [B, K]`` logits.

    ``patch`` consecutive samples of all channels make one token; the tokens' mean is classified.
    """

    def __init__(
        self,
        window: int = 128,
        channels: int = 6,
        patch: int = 4,
        d: int = 64,
        blocks: int = 4,
        heads: int = 4,
        classes: int = 7,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.tokens, self.width = window // patch, patch * channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Linear(self.width, d)
            self.pos = nn.Parameter(0.02 * torch.randn(self.tokens, d))
            self.blocks = nn.ModuleList(Block(d, heads) for _ in range(blocks))
            self.norm = nn.LayerNorm(d)
            self.head = nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.reshape(x.shape[0], self.tokens, self.width)) + self.pos
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x).mean(dim=1))
        return logits


class CCT(nn.Module):
    """Compact Convolutional Transformer, images ``[B, channels, size, size] -> [B, K]`` logits.

    CCT-2/3x2 of Hassani et al. 2021 ("Escaping the Big Data Paradigm with Compact Transformers"):
    two stages of convolution, ReLU and max-pooling make the tokens (64 of them at 32x32), learned
    positions, two blocks, sequence pooling. The defaults have 283,531 parameters.
    """

    def __init__(
        self,
        size: int = 32,
        channels: int = 1,
        d: int = 128,
        blocks: int = 2,
        heads: int = 2,
        classes: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        tokens = (-(-size // 4)) ** 2  # each stage halves rows and columns, rounded up
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = (channels, d // 2, d)
            self.convs = nn.ModuleList(
                nn.Conv2d(widths[i], widths[i + 1], 3, padding=1) for i in range(2)
            )
            for conv in self.convs:
                weight = nn.init.kaiming_normal_(conv.get_parameter("weight"))
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)  # is faster
            self.pos = nn.Parameter(0.2 * torch.randn(tokens, d))
            self.blocks = nn.ModuleList(Block(d, heads, ratio=1) for _ in range(blocks))
            self.norm = nn.LayerNorm(d)
            self.pool = nn.Linear(d, 1)
            self.head = nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = functional.relu(functional.max_pool2d(conv(x), 3, stride=2, padding=1))
        x = x.flatten(2).transpose(1, 2) + self.pos  # [B, T, d]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        weights = self.pool(x).softmax(dim=1)  # [B, T, 1]
        logits: Tensor = self.head((weights.transpose(1, 2) @ x).squeeze(1))
        return logits


class CharLM(nn.Module):
    """Causal language model, tokens ``[B, T] -> [B, T, V]`` logits of the token that follows."""

    def __init__(
        self,
        vocab: int,
        d: int = 96,
        blocks: int = 4,
        heads: int = 4,
        context: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        hidden = torch.ones(context, context, dtype=torch.bool).triu(diagonal=1)  # the future
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Embedding(vocab, d)
            self.pos = nn.Parameter(0.02 * torch.randn(context, d))
            self.blocks = nn.ModuleList(Block(d, heads, hidden) for _ in range(blocks))
            self.norm = nn.LayerNorm(d)
            self.head = nn.Linear(d, vocab)
            nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.pos
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits
