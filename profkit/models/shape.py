"""What does a model consist of: its layers by kind, its MLPs, its weights, from a config alone.

`ModelShape.of(config)` reads it; `shape_costs` says what cache, arithmetic and memory traffic it costs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profkit.models.shape_weights import Weights


class LayerKind(StrEnum):
    """How a layer attends, and with that what it keeps per token."""

    FULL = "full"  # every token's keys and values, for all heads or groups of them (MHA, GQA, MQA)
    SLIDING = "sliding"  # those of the last tokens only
    CHUNKED = "chunked"  # attends within its chunk; transformers caches it like a window
    MLA = "mla"  # one latent per token instead of keys and values (DeepSeek)
    LINEAR = "linear"  # a state of fixed size (gated delta net)
    CROSS = "cross"  # keys and values of the source, once (encoder-decoder)
    SHARED = "shared"  # reads what an earlier layer has cached, keeps nothing itself


class MlpKind(StrEnum):
    """How a layer's feed-forward part is built."""

    DENSE = "dense"  # up and down
    GATED = "gated"  # gate, up and down (SwiGLU, GeGLU)
    MOE = "moe"  # a few experts of many, chosen for each token


@dataclass(frozen=True)
class Latent:
    """What MLA computes from its latent (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""

    rank: int
    key_dim: int  # of a head, without the part that carries the position
    rope_dim: int
    value_dim: int  # of a head
    query_rank: int | None = None  # of the queries' own latent, where they have one

    @property
    def expansion(self) -> int:
        """Weight elements of a head's up-projection of keys and values."""
        return self.rank * (self.key_dim + self.value_dim)


@dataclass(frozen=True)
class DeltaNet:
    """Sizes of a gated delta net (arXiv 2412.06464)."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int  # tokens that its convolution spans

    @property
    def channels(self) -> int:
        """Channels of the convolution: queries, keys and values of all heads."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    @property
    def state(self) -> int:
        """Elements of the recurrent state of one sequence."""
        return self.value_heads * self.key_dim * self.value_dim


@dataclass(frozen=True)
class LayerGroup:
    """Layers that attend alike. A cross-attention is a group of its own beside the layer's self-attention."""

    kind: LayerKind
    count: int
    query_heads: int
    kv_heads: int  # as cached: 1 for MLA's latent, 0 where there are no keys and values
    head_dim: int  # of a cached key; of MLA, the latent
    value_dim: int  # of a cached value; of MLA, the part that carries the position
    matrices: int  # weight elements that each token is multiplied with in one layer's projections
    window: int | None = None  # tokens that a query sees; of `CHUNKED`, its chunk
    latent: Latent | None = None
    delta: DeltaNet | None = None

    @property
    def cached_elements(self) -> int:
        """Elements that one token adds to the cache of one layer."""
        grows = self.kind not in (LayerKind.LINEAR, LayerKind.SHARED)
        return self.kv_heads * (self.head_dim + self.value_dim) if grows else 0

    @property
    def step_weights(self) -> int:
        """Weight elements of one layer that a step reads."""
        up = self.query_heads * self.latent.expansion if self.latent else 0
        convolution = self.delta.channels * self.delta.kernel if self.delta else 0
        return self.matrices + up + convolution

    @property
    def weights(self) -> int:
        """Weight elements of one layer, those included that compute the keys and values of a source."""
        return self.step_weights * (2 if self.kind is LayerKind.CROSS else 1)


@dataclass(frozen=True)
class MlpGroup:
    """Feed-forward parts of one size."""

    kind: MlpKind
    count: int
    intermediate_size: int  # of one expert, where there are experts
    matrices: int  # weight elements that every token is multiplied with: dense MLP, or router and shared expert
    experts: int = 0
    active_experts: int = 0  # that each token is sent to
    expert_matrices: int = 0  # weight elements of one expert


@dataclass(frozen=True)
class ModelShape:
    """An architecture: sizes only, no weights.

    Of an encoder-decoder model it is the decoder's; `weights` counts the whole model.
    """

    model_type: str
    hidden_size: int
    vocab_size: int
    query_heads: int
    layers: tuple[LayerGroup, ...]
    mlps: tuple[MlpGroup, ...]
    head_matrices: int  # weight elements of the vocabulary's projection
    other_matrices: int  # of projections that belong to no layer, which each token passes
    dtype: str | None  # of the weights, as the config says
    max_context: int | None  # positions that the config allows
    source_tokens: int | None = None  # that cross-attention sees, where it is always the same number (Whisper)
    quantized: str | None = None  # how the config says that weights are stored
    config: Any = field(default=None, repr=False, compare=False)  # the transformers config that was read

    @classmethod
    def of(cls, config: str | os.PathLike[str] | Mapping[str, Any] | Any) -> ModelShape:
        """The shape of a model.

        Args:
            config: a transformers config object, or a model that has one; a plain dict with a "model_type";
                the path of a config.json or of the folder that holds it. Nothing is downloaded.

        Raises:
            ProfkitError: the file cannot be read, the architecture is unknown (it names its model_type), or a
                size is missing (it names the field). Sizes are never guessed: a dict without one is refused
                even where transformers would fill in those of another model.
        """
        from profkit.models.shape_families import read_shape

        return read_shape(config)

    @property
    def layer_count(self) -> int:
        """Decoder layers; a cross-attention is part of one."""
        return sum(group.count for group in self.layers if group.kind is not LayerKind.CROSS)

    @property
    def matrices(self) -> int:
        """Weight elements of the decoder's matrices, every expert and the head included."""
        mlps = sum(group.count * (group.matrices + group.experts * group.expert_matrices) for group in self.mlps)
        attention = sum(group.count * group.weights for group in self.layers)
        return attention + mlps + self.head_matrices + self.other_matrices

    @cached_property
    def weights(self) -> Weights:
        """Parameters of the whole model, counted once from its modules without their storage."""
        from profkit.models.shape_weights import count_weights

        return count_weights(self)

    @property
    def parameters(self) -> int | None:
        """Parameters in all, tied ones once; None where `weights.reason` says why."""
        return self.weights.parameters
