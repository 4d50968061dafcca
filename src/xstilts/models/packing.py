"""Sequences side by side in one row, without padding: all of an encoder but its attention sees real tokens only.

Registered with transformers as an attention implementation. Attention itself takes sequences together, padded to the
longest of them, since PyTorch's kernel for ragged sequences (`torch.nn.attention.varlen`) has no dropout, which
published training protocols have: on a CPU those of like lengths, on a GPU, which waits for its host, mostly all. Where
a head reads first tokens alone, the last layer computes no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AttentionInterface

from xstilts import cuts
from xstilts.models.stacks import LIKE_BERT, layers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

NAME = "xstilts_packed"
_RUN_COST = {"cpu": 64 * 64, "cuda": 2048 * 2048}
"""Of one more run, in entries of an attention matrix: on a GPU, the price of another dozen launches in every layer.

Measured on a CPU; for GPUs estimated: launches of data/devices.yaml, 150 Tflop/s in attention, XLM-R Large's width.
"""
_MOST = 256  # rows of a run
_ALIGNED = 8  # entries of a mask's row in memory, of which GPUs' kernels want multiples; they would copy others


def supported(encoder: PreTrainedModel) -> bool:
    """Is the encoder of an architecture whose packed computation is known (by test) to equal the padded one?"""
    return encoder.config.model_type in _POSITIONS


def switch_on(encoder: PreTrainedModel) -> bool:
    """Have the encoder compute without padding, through `last_hidden_state`; False where its architecture cannot."""
    if not supported(encoder):
        return False
    encoder.set_attn_implementation(NAME)
    if encoder.config.model_type in LIKE_BERT:
        last = layers(encoder)[-1]
        last.__class__ = _last_layer(type(last))
    return True


def last_hidden_state(
    encoder: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    lengths: Sequence[int],
    *,
    first_only: bool = False,
    **others: torch.Tensor,
) -> torch.Tensor:
    """An encoder's last hidden states, packed where it is switched on: (batch, length) to (batch, length, width).

    Padding is on the right, and zero in the result if packed.

    Args:
        lengths: real tokens of each sequence, on the host: a device asked for them would stop.
        first_only: of each sequence's first token alone, (batch, 1, width).
        others: further inputs (batch, length), as `token_type_ids`.
    """
    if encoder.config._attn_implementation != NAME:
        padded: torch.Tensor = encoder(input_ids=input_ids, attention_mask=attention_mask, **others).last_hidden_state
        return padded[:, :1] if first_only else padded
    rows = Rows.of(lengths, input_ids.shape[1], input_ids.device, first_only)
    inputs = {"input_ids": input_ids, "position_ids": _POSITIONS[encoder.config.model_type](encoder, input_ids)}
    packed = {name: rows.pack(value)[None] for name, value in (inputs | others).items()}
    hidden = encoder(**packed, rows=rows).last_hidden_state.squeeze(0)
    if first_only and encoder.config.model_type not in LIKE_BERT:
        hidden = hidden.index_select(0, rows.starts)
    return rows.unpack(hidden)


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


class _Spread(torch.autograd.Function):
    """Rows of tables put into padded ones, whose other places hold any row: these are masked, and have no gradient."""

    @staticmethod
    def forward(
        ctx: Any, sources: torch.Tensor, index: torch.Tensor, *tables: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """`table[sources]` of each; the rows stand at `index` in it, in their order."""
        ctx.save_for_backward(index)
        return tuple(table.index_select(0, sources) for table in tables)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients at the rows' own places."""
        (index,) = ctx.saved_tensors
        return None, None, *(grad.index_select(0, index) for grad in grads)


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
    """Sequences next to each other that attend together.

    Attributes:
        longest: tokens of the longest.
        lengths: (sequences,), ascending.
        index: (tokens,), their places in the run's padded table (sequences, longest), flattened.
        sources: (sequences * longest,), which token stands at each place of it; any one where there is none.
    """

    longest: int
    lengths: torch.Tensor
    index: torch.Tensor
    sources: torch.Tensor
    _masks: dict[tuple[int | None, torch.dtype], torch.Tensor | None] = field(default_factory=dict)

    @property
    def even(self) -> bool:
        """Are the sequences of one length, so that there is nothing to pad?"""
        return len(self.index) == len(self.sources)

    def padded(self, *packed: torch.Tensor) -> list[torch.Tensor]:
        """Tensors (heads, tokens, size) to (sequences, heads, longest, size)."""
        tables = [part.transpose(0, 1) for part in packed]
        if not self.even:
            # At once: for small models every function of Python in autograd counts. PyTorch types no `apply`.
            tables = _Spread.apply(self.sources, self.index, *tables)  # type: ignore[no-untyped-call]
        return [table.reshape(-1, self.longest, *table.shape[1:]).transpose(1, 2) for table in tables]

    def packed(self, padded: torch.Tensor) -> torch.Tensor:
        """(sequences, heads, longest, size) to (tokens, heads, size)."""
        rows = padded.transpose(1, 2).flatten(0, 1)
        if self.even:
            return rows
        taken: torch.Tensor = _Taken.apply(rows, self.index)  # type: ignore[no-untyped-call]
        return taken

    def mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        """What is added to scores, (sequences, 1, longest or 1, longest): 0, or -inf where nothing may attend.

        None: everything attends to everything.
        """
        key = window, dtype
        if key not in self._masks:  # the same for all layers
            self._masks[key] = self._mask(*key)
        return self._masks[key]

    def _mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        places = torch.arange(-(-self.longest // _ALIGNED) * _ALIGNED, device=self.index.device)
        allowed = (places < self.lengths[:, None])[:, None, None]
        if window is not None and window <= self.longest:
            apart = (places[: self.longest, None] - places).abs()
            allowed = allowed & (apart < window) | (apart == 0)  # padding attends to itself: to nothing would give NaN
        elif self.even:
            return None
        added = torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, -torch.inf)
        return added[..., : self.longest]


@dataclass(frozen=True)
class Rows:
    """Where the tokens of a padded batch stand once packed, shorter sequences first.

    Attributes:
        shape: (batch, length) of the padded batch.
        order: (batch,), the packed sequences' places in the batch.
        starts: (batch,), the places of their first tokens among the packed tokens.
        index: (tokens,), the packed tokens' places in the padded batch, flattened.
        runs: the sequences in runs, each worth its padding.
        first_only: are first tokens all that is wanted of the last layer?
    """

    shape: tuple[int, int]
    order: torch.Tensor
    starts: torch.Tensor
    index: torch.Tensor
    runs: list[Run]
    first_only: bool

    @classmethod
    def of(cls, lengths: Sequence[int], length: int, device: torch.device, first_only: bool = False) -> Rows:
        """From the lengths of the sequences of a batch that is padded to `length`; made on the host, sent at once."""
        order = np.argsort(lengths, kind="stable")
        found = np.array(lengths)[order]
        cost = _RUN_COST.get(device.type, _RUN_COST["cpu"])
        bounds = cuts.cut(found.tolist(), lambda rows, longest: rows * longest**2 + cost, most=_MOST)
        cut = [found[start:stop] for start, stop in bounds]
        whole = order, found.cumsum() - found, _table_index(found, order * length)
        sent = _sent([array for part in (whole, *map(_table, cut)) for array in part], device)
        shared, *tables = zip(sent[::3], sent[1::3], sent[2::3], strict=True)
        runs = [Run(int(own[-1]), *table) for own, table in zip(cut, tables, strict=True)]
        return cls((len(lengths), length), *shared, runs, first_only)

    def pack(self, table: torch.Tensor) -> torch.Tensor:
        """(batch, length) to (tokens,)."""
        return table.flatten().index_select(0, self.index)

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """(tokens, width) to (batch, length, width); of first tokens only, (batch, width) to (batch, 1, width)."""
        if self.first_only:
            return _put(packed, self.order, self.shape[0])[:, None]
        return _put(packed, self.index, self.shape[0] * self.shape[1]).view(*self.shape, -1)

    def split(self, *parts: torch.Tensor) -> Iterator[tuple[Any, ...]]:
        """Each run with its share of tensors (1, heads, tokens, size)."""
        whole = [part.squeeze(0) for part in parts]
        if len(self.runs) == 1:  # the gradient of a split is put together anew
            return iter([(*self.runs, *whole)])
        sizes = [len(run.index) for run in self.runs]
        # At once: the gradient of a slice alone would be as large as the whole.
        return zip(self.runs, *(part.split_with_sizes(sizes, 1) for part in whole), strict=True)


def _sent(arrays: Sequence[NDArray[np.int64]], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Arrays on a device, in one transfer, for which the host does not wait."""
    together = torch.from_numpy(np.concatenate(arrays))
    if device.type == "cuda":
        together = together.pin_memory()
    return together.to(device, non_blocking=True).split_with_sizes([len(array) for array in arrays])


def _table(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """A run's `lengths`, `index` and `sources`."""
    index = _table_index(lengths, np.arange(len(lengths)) * lengths[-1])
    sources = np.zeros(len(lengths) * lengths[-1], dtype=np.int64)
    sources[index] = np.arange(len(index))
    return lengths, index, sources


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
    for run, *parts in rows.split(query, key, value):
        q, k, v = run.padded(*parts)
        found.append(run.packed(_attended(run, q, k, v, scaling, dropout, sliding_window)))
    return _together(found)[None], None


def _attended(
    run: Run,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    dropout: float,
    window: int | None = None,
) -> torch.Tensor:
    mask = run.mask(window, query.dtype)
    return functional.scaled_dot_product_attention(query, key, value, mask, dropout, scale=scaling)


def _together(parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


AttentionInterface.register(NAME, _attend)
# cuDNN's attention, PyTorch's first choice on Hopper, gives gradients that are not numbers for masked sequences of some
# lengths (pytorch/pytorch#196678), and plans anew for every shape: nearly every pass has its own.
torch.backends.cuda.enable_cudnn_sdp(False)


def _last_layer(kind: Any) -> Any:
    """The class of an encoder's last layer that can be left at first tokens, from that of its BERT-like layers."""

    def forward(self: Any, hidden: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        rows: Rows | None = named.get("rows")
        if rows is None or not rows.first_only:
            whole: torch.Tensor = kind.forward(self, hidden, *others, **named)
            return whole
        return _first_tokens(self, hidden, rows)

    return type(kind.__name__, (kind,), {"forward": forward})


def _first_tokens(layer: Any, hidden: torch.Tensor, rows: Rows) -> torch.Tensor:
    """What a BERT-like layer makes of first tokens, (1, tokens, width) to (1, batch, width).

    They look at all others, of which nothing but keys and values is needed.
    """
    own, inner = hidden.index_select(1, rows.starts), layer.attention.self
    heads = (-1, inner.num_attention_heads, inner.attention_head_size)
    key, value = (linear(hidden).view(1, *heads).transpose(1, 2) for linear in (inner.key, inner.value))
    query = inner.query(own).view(*heads, 1).transpose(2, 3)
    dropout = inner.dropout.p if layer.training else 0.0
    attended = _attend_from_first(query, key, value, rows, inner.scaling, dropout)
    found: torch.Tensor = layer.feed_forward_chunk(layer.attention.output(attended.flatten(1)[None], own))
    return found


def _attend_from_first(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows, scaling: float, dropout: float
) -> torch.Tensor:
    """Attention of first tokens, (batch, heads, 1, size), to all of their sequences, (1, heads, tokens, size)."""
    queries = query.split_with_sizes([len(run.lengths) for run in rows.runs])
    found = []
    for q, (run, *parts) in zip(queries, rows.split(key, value), strict=True):
        k, v = run.padded(*parts)
        found.append(_attended(run, q, k, v, scaling, dropout))
    return _together(found)
