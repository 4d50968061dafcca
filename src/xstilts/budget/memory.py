"""What a training holds in a device's memory at its peak, and the largest pass that fits.

Weights, gradients and AdamW's two moments are float32 (the Trainer's mixed precision is autocast); DeepSpeed with bf16
or fp16 keeps weights and gradients in 16 bits and a float32 copy with the moments. ZeRO 1 shards the latter over the
ranks, 2 the gradients too, 3 the weights too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xstilts.budget.architecture import Architecture
from xstilts.budget.devices import Device
from xstilts.budget.families import Size

USABLE = 0.92
"""Share of a device's memory that is left beside CUDA's own and what fragments (estimated)."""

MOMENTS = 8  # bytes a parameter
_STEP_COUNTER = 4  # bytes a tensor: AdamW counts steps for each
# Bytes kept for the backward pass per token and layer: of each unit of width and of the feed-forward network, by the
# bytes of a number (measured by autograd's saved tensors on a CPU; attention's scores apart, which fused attention on
# GPUs does not keep). DeBERTa and T5 are taken to be like BERT; RemBERT has no dropout, ModernBERT neither, but a gate.
_KEPT = {
    "bert": {4: (40, 8), 2: (34, 4)},
    "rembert": {4: (32, 8), 2: (16, 4)},
    "modernbert": {4: (40, 16), 2: (24, 8)},
}


@dataclass(frozen=True)
class Held:
    """Bytes per device.

    Attributes:
        weights, gradients: of the parameters.
        optimizer: its state, with the float32 copy where weights have 16 bits.
        per_token: what one token of a pass leaves for the backward pass.
    """

    weights: float
    gradients: float
    optimizer: float
    per_token: float

    def peak(self, tokens: float) -> float:
        """At passes of so many tokens, padding included."""
        return self.weights + self.gradients + self.optimizer + self.per_token * tokens


def optimizer_bytes(size: Size) -> int:
    """AdamW's state as PyTorch holds it: two float32 moments per parameter, one float32 counter per tensor."""
    return MOMENTS * size.parameters + _STEP_COUNTER * size.tensors


def training(
    architecture: Architecture, size: Size, compute: Mapping[str, Any], precision: str, widest: float = 0.0
) -> Held:
    """What a training holds.

    Args:
        size: parameters, head included.
        compute: `ranks`, `deepspeed` and `activation_checkpointing` of the study.
        widest: tokens of the longest sequence, to which all of a pass are padded where attention is not fused.
    """
    zero = compute.get("deepspeed") or {}
    ranks, stage = int(compute["ranks"]), int(zero.get("zero_stage", 0))
    short = bool(zero) and precision != "fp32"
    unit = 2 if short else 4
    optimizer = optimizer_bytes(size) + (4 * size.parameters if short else 0)
    return Held(
        weights=unit * size.parameters / (ranks if stage == 3 else 1) + _casts(size, precision, bool(zero)),
        gradients=unit * size.parameters / (ranks if stage >= 2 else 1),
        optimizer=0.0 if zero.get("offload") else optimizer / (ranks if stage >= 1 else 1),
        per_token=_per_token(architecture, precision, bool(compute.get("activation_checkpointing")), widest),
    )


def prediction(architecture: Architecture, size: Size, tokens: int, precision: str, widest: float = 0.0) -> float:
    """Bytes at the peak of inference: float32 weights, 16-bit copies, and one layer's inside for a batch's tokens."""
    layer = 6.0 * architecture.width + 2.0 * architecture.feed_forward
    layer += architecture.unfused.numbers(widest)
    return 4.0 * size.parameters + _casts(size, precision, False) + 4.0 * layer * tokens


def _casts(size: Size, precision: str, deepspeed: bool) -> float:
    """Autocast keeps a 16-bit copy of the weights that it has cast during a pass."""
    return 0.0 if precision == "fp32" or deepspeed else 2.0 * size.parameters


def _per_token(architecture: Architecture, precision: str, checkpointing: bool, widest: float) -> float:
    """With activation checkpointing only what enters a layer (float32) is kept, and one layer's inside at a time."""
    layers, unit = architecture.all_layers, 4 if precision == "fp32" else 2
    of_width, of_network = _KEPT[architecture.family][unit]
    layer = float(of_width * architecture.width + of_network * architecture.feed_forward)
    layer += unit * architecture.unfused.numbers(widest)
    return 4.0 * architecture.width * layers + layer if checkpointing else layers * layer


def largest_fitting(held: Held, device: Device, share: int, tokens_per_example: float) -> int | None:
    """The largest divisor of a device's share of the batch whose longest pass fits; None if no example does."""
    room = USABLE * device.memory
    sizes = (n for n in range(share, 0, -1) if share % n == 0)
    return next((n for n in sizes if held.peak(n * tokens_per_example) <= room), None)
