"""Sequences side by side in one row, without padding: all of an encoder but its attention sees real tokens only.

Registered with transformers as an attention implementation. Attention itself takes sequences of like lengths together,
padded to the longest of them, since PyTorch's kernel for ragged sequences (`torch.nn.attention.varlen`) has no dropout,
which published training protocols have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AttentionInterface

from xstilts import cuts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

NAME = "xstilts_packed"
_RUN_COST = 64 * 64  # of one more run, in entries of an attention matrix
_MOST = 256  # rows of a run


def supported(encoder: PreTrainedModel) -> bool:
    """Is the encoder of an architecture whose packed computation is known (by test) to equal the padded one?"""
    return encoder.config.model_type in _POSITIONS


def switch_on(encoder: PreTrainedModel) -> bool:
    """Have the encoder compute without padding, through `hidden_states`; False where its architecture cannot."""
    if not supported(encoder):
        return False
    encoder.set_attn_implementation(NAME)
    return True


def last_hidden_state(
    encoder: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    lengths: Sequence[int],
    **others: torch.Tensor,
) -> torch.Tensor:
    """An encoder's last hidden states, packed where it is switched on: (batch, length) to (batch, length, width).

    Padding is on the right, and zero in the result if packed.

    Args:
        lengths: real tokens of each sequence, on the host: a device asked for them would stop.
        others: further inputs (batch, length), as `token_type_ids`.
    """
    if encoder.config._attn_implementation != NAME:
        padded: torch.Tensor = encoder(input_ids=input_ids, attention_mask=attention_mask, **others).last_hidden_state
        return padded
    rows = Rows.of(lengths, input_ids.shape[1], input_ids.device)
    inputs = {"input_ids": input_ids, "position_ids": _POSITIONS[encoder.config.model_type](encoder, input_ids)}
    packed = {name: rows.pack(value)[None] for name, value in (inputs | others).items()}
    return rows.unpack(encoder(**packed, rows=rows).last_hidden_state[0])


def _from_zero(_encoder: Any, input_ids: torch.Tensor) -> torch.Tensor:
    return torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)


def _after_padding(encoder: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """RoBERTa's: counted from one after the padding token's, which a padding token within the text keeps."""
    embeddings = encoder.embeddings
    found: torch.Tensor = embeddings.create_position_ids_from_input_ids(input_ids, embeddings.padding_idx)
    return found


_POSITIONS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "bert": _from_zero,
    "electra": _from_zero,
    "modernbert": _from_zero,
    "roberta": _after_padding,
    "camembert": _after_padding,
    "xlm-roberta": _after_padding,
    "xlm-roberta-xl": _after_padding,
}
"""Positions of a padded batch's tokens, by architecture (`model_type`)."""


class _Taken(torch.autograd.Function):
    """Rows of a tensor, each at most once: the gradient is put back rather than added up."""

    @staticmethod
    def forward(ctx: Any, source: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """`source[index]`."""
        ctx.save_for_backward(index)
        ctx.size = len(source)
        return source.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The gradient of the rows taken; zero elsewhere."""
        return _put(grads[0], ctx.saved_tensors[0], ctx.size), None


def _put(rows: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    return rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, index, rows)


@dataclass(frozen=True)
class Run:
    """Sequences of like lengths, next to each other.

    Attributes:
        lengths: (sequences,), ascending.
        index: (tokens,), their places in the run's padded table (sequences, longest), flattened.
    """

    lengths: torch.Tensor
    longest: int
    index: torch.Tensor
    _masks: dict[int | None, torch.Tensor | None] = field(default_factory=dict)

    @property
    def even(self) -> bool:
        """Are the sequences of one length, so that there is nothing to pad?"""
        return len(self.index) == len(self.lengths) * self.longest

    def padded(self, packed: torch.Tensor) -> torch.Tensor:
        """(heads, tokens, size) to (sequences, heads, longest, size)."""
        own = packed.transpose(0, 1)
        table = own if self.even else _put(own, self.index, len(self.lengths) * self.longest)
        return table.reshape(-1, self.longest, *own.shape[1:]).transpose(1, 2)

    def packed(self, padded: torch.Tensor) -> torch.Tensor:
        """(sequences, heads, longest, size) to (tokens, heads, size)."""
        rows = padded.transpose(1, 2).flatten(0, 1)
        if self.even:
            return rows
        # PyTorch types no `apply`.
        taken: torch.Tensor = _Taken.apply(rows, self.index)  # type: ignore[no-untyped-call]
        return taken

    def mask(self, window: int | None) -> torch.Tensor | None:
        """What attends to what, (sequences or 1, 1, longest or 1, longest); None: everything to everything."""
        if window not in self._masks:  # the same for all layers
            self._masks[window] = self._mask(window)
        return self._masks[window]

    def _mask(self, window: int | None) -> torch.Tensor | None:
        place = torch.arange(self.longest, device=self.index.device)
        real = (place < self.lengths[:, None])[:, None, None]
        if window is not None and window <= self.longest:
            near = (place[:, None] - place).abs()
            return real & (near < window) | (near == 0)  # padding attends to itself: to nothing would give NaN
        return None if self.even else real


@dataclass(frozen=True)
class Rows:
    """Where the tokens of a padded batch stand once packed, shorter sequences first.

    Attributes:
        shape: (batch, length) of the padded batch.
        index: (tokens,), the packed tokens' places in the padded batch, flattened.
        runs: the sequences in runs, each worth its padding.
    """

    shape: tuple[int, int]
    index: torch.Tensor
    runs: list[Run]

    @classmethod
    def of(cls, lengths: Sequence[int], length: int, device: torch.device) -> Rows:
        """From the lengths of the sequences of a batch that is padded to `length`; made on the host, sent at once."""
        order = np.argsort(lengths, kind="stable")
        found = np.array(lengths)[order]
        bounds = cuts.cut(found.tolist(), lambda rows, longest: rows * longest**2 + _RUN_COST, most=_MOST)
        cut = [found[start:stop] for start, stop in bounds]
        tables = [_table_index(own, np.arange(len(own)) * own[-1]) for own in cut]
        index, *sent = _sent([_table_index(found, order * length), *cut, *tables], device)
        longest = [int(own[-1]) for own in cut]
        runs = [Run(*parts) for parts in zip(sent[: len(cut)], longest, sent[len(cut) :], strict=True)]
        return cls((len(lengths), length), index, runs)

    def pack(self, table: torch.Tensor) -> torch.Tensor:
        """(batch, length) to (tokens,)."""
        return table.flatten().index_select(0, self.index)

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """(tokens, width) to (batch, length, width)."""
        return _put(packed, self.index, self.shape[0] * self.shape[1]).view(*self.shape, -1)


def _sent(arrays: Sequence[NDArray[np.int64]], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Arrays on a device, in one transfer, for which the host does not wait."""
    together = torch.from_numpy(np.concatenate(arrays))
    if device.type == "cuda":
        together = together.pin_memory()
    return together.to(device, non_blocking=True).split_with_sizes([len(array) for array in arrays])


def _table_index(lengths: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Consecutive numbers from each start on, as many as the length says, one after the other."""
    ends = lengths.cumsum()
    return np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)


def _attend(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _attention_mask: None,
    *,
    rows: Rows,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each sequence: query, key, value (1, heads, tokens, size) to (1, tokens, heads, size)."""
    found = []
    sizes = [len(run.index) for run in rows.runs]
    # At once: the gradient of a slice alone would be as large as the whole.
    split = (part[0].split_with_sizes(sizes, 1) for part in (query, key, value))
    for run, *parts in zip(rows.runs, *split, strict=True):
        q, k, v = map(run.padded, parts)
        mask = run.mask(sliding_window)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling)
        found.append(run.packed(attended))
    return torch.cat(found)[None], None


AttentionInterface.register(NAME, _attend)
