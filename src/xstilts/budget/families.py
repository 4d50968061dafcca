"""Families of transformers: what their config.json says of parameters and operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

_BUCKETS = 32  # relative positions of a T5 attention, unless its config says otherwise


@dataclass(frozen=True)
class Size:
    """Learnt numbers and the tensors that hold them."""

    parameters: int = 0
    tensors: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.parameters + other.parameters, self.tensors + other.tensors)

    def times(self, count: int) -> Size:
        """As many copies."""
        return Size(self.parameters * count, self.tensors * count)


def linear(inside: int, outside: int, bias: bool = True) -> Size:
    """A layer's matrix, and its bias if it has one."""
    return Size((inside + bias) * outside, 1 + bias)


def norm(width: int, bias: bool = True) -> Size:
    """A normalisation's scale, and its bias if it has one."""
    return Size((1 + bias) * width, 1 + bias)


def table(rows: int, width: int) -> Size:
    """Embeddings; a table without rows is none."""
    return Size(rows * width, 1 if rows else 0)


@dataclass(frozen=True)
class Decoder:
    """A decoder over an encoder's output, its own output that of the embeddings.

    Attributes:
        per_target, per_source: operations per token to be made and per token read, products between tokens apart.
        per_pair: operations per pair of tokens, of its own or with one read.
        kept: numbers of keys and values that generation keeps per token, own or read.
    """

    layers: int
    per_target: float
    per_source: float
    per_pair: float
    kept: float

    def forward(self, source: float, target: float) -> float:
        """Operations over a known text."""
        return self.per_target * target + self.per_source * source + self.per_pair * target * (target + source)

    def generated(self, source: float, target: float) -> float:
        """Operations of making the text token by token: each looks back at those before it alone."""
        pairs = target * source + target * (target + 1) / 2
        return self.per_target * target + self.per_source * source + self.per_pair * pairs


@dataclass(frozen=True)
class Unfused:
    """What attention that is not fused keeps in one layer, in numbers.

    Attributes:
        per_pair: per pair of tokens.
        per_token, per_sequence: of relative positions.
    """

    per_pair: float = 0.0
    per_token: float = 0.0
    per_sequence: float = 0.0

    def numbers(self, widest: float) -> float:
        """Per token, all sequences of a pass padded to so many tokens."""
        return self.per_pair * widest + self.per_token + self.per_sequence / max(widest, 1.0)


def _scores(config: Config, dropout: float) -> float:
    """Numbers per pair of tokens: probabilities and, with dropout, what is left of them and which."""
    kept = 3.0 if config.get("attention_probs_dropout_prob", dropout) else 1.0
    return kept * int(config["num_attention_heads"])


def _decoder(layers: int, width: int, inner: int, network: float, vocabulary: int) -> Decoder:
    return Decoder(
        layers=layers,
        per_target=layers * (12.0 * width * inner + network) + 2.0 * width * vocabulary,
        per_source=layers * 4.0 * width * inner,
        per_pair=layers * 4.0 * inner,
        kept=layers * 2.0 * inner,
    )


# --- encoders


def bert(config: Config) -> dict[str, Any]:
    """BERT, RoBERTa and their kin; XL's has its last norm after the layers, not after the embeddings."""
    return _bert(config, int(config["hidden_size"]))


def rembert(config: Config) -> dict[str, Any]:
    """BERT with narrow embeddings that a layer widens, its attention not fused."""
    width, narrow = int(config["hidden_size"]), int(config.get("input_embedding_size", 256))
    made = _bert(config, narrow)
    made["size"] += linear(narrow, width)
    made["per_token"] += 2.0 * narrow * width
    return made | {"family": "rembert", "unfused": Unfused(_scores(config, 0.0))}


def _bert(config: Config, embedded: int) -> dict[str, Any]:
    width, inside, layers = _shape(config)
    positions, types = int(config["max_position_embeddings"]), int(config.get("type_vocab_size", 2))
    rows = (int(config["vocab_size"]), positions, types)
    embeddings = sum((table(n, embedded) for n in rows), norm(embedded))
    return _encoder(config, embeddings, embeddings + _bert_layer(width, inside).times(layers))


def _shape(config: Config) -> tuple[int, int, int]:
    return int(config["hidden_size"]), int(config["intermediate_size"]), int(config["num_hidden_layers"])


def _bert_layer(width: int, inside: int) -> Size:
    attention = linear(width, width).times(4) + norm(width)
    return attention + linear(width, inside) + linear(inside, width) + norm(width)


def _encoder(config: Config, embeddings: Size, size: Size, matrices: int = 2) -> dict[str, Any]:
    """An encoder of so many matrices in each feed-forward network."""
    width, inside, layers = _shape(config)
    return {
        "layers": layers,
        "width": width,
        "feed_forward": inside,
        "vocabulary": int(config["vocab_size"]),
        "embeddings": embeddings,
        "size": size,
        "per_token": layers * (8.0 * width * width + matrices * 2.0 * width * inside),
        "per_pair": layers * 4.0 * width,
    }


def deberta(config: Config) -> dict[str, Any]:
    """DeBERTa v2 and v3: attention also between tokens and relative positions, which every pass projects anew."""
    width, inside, layers = _shape(config)
    embedded = int(config.get("embedding_size") or width)
    positions = int(config["max_position_embeddings"]) if config.get("position_biased_input", True) else 0
    rows = (int(config["vocab_size"]), positions, int(config.get("type_vocab_size", 0)))
    embeddings = sum((table(n, embedded) for n in rows), norm(width))
    relative, ways, shared = _relative(config)
    layer = _bert_layer(width, inside) + linear(width, width).times(0 if shared else ways)
    made = _encoder(config, embeddings, embeddings + layer.times(layers) + _beside(config, embedded, relative))
    # With shared projections positions are projected as queries and as keys, whichever is used.
    projected = (2 if shared else ways) if relative else 0
    made["per_token"] += layers * ways * 2.0 * relative * width + _convolved(config, embedded)
    made["per_pass"] = layers * projected * 2.0 * relative * width * width
    # Every sequence has its copy of the projected positions, and scores of its tokens with each.
    heads, copies = int(config["num_attention_heads"]), ways * relative
    return made | {"unfused": Unfused(_scores(config, 0.1), float(copies * heads), float(copies * width))}


def _relative(config: Config) -> tuple[int, int, bool]:
    """Relative positions, between which and tokens attention looks how many ways, and whether it shares projections."""
    if not config.get("relative_attention"):
        return 0, 0, False
    given = config.get("pos_att_type") or []
    ways = given.lower().split("|") if isinstance(given, str) else given
    longest = int(config.get("max_relative_positions", -1))
    span = int(config.get("position_buckets", -1))
    span = span if span > 0 else longest if longest > 0 else int(config["max_position_embeddings"])
    return 2 * span, len({way.strip() for way in ways} & {"c2p", "p2c"}), bool(config.get("share_att_key"))


def _beside(config: Config, embedded: int, relative: int) -> Size:
    """What a DeBERTa has beside embeddings and layers."""
    width, kernel = int(config["hidden_size"]), int(config.get("conv_kernel_size") or 0)
    size = table(relative, width) + (norm(width) if "layer_norm" in str(config.get("norm_rel_ebd", "none")) else Size())
    if embedded != width:
        size += linear(embedded, width, bias=False)
    if kernel:
        size += linear(kernel * width // int(config.get("conv_groups", 1)), width) + norm(width)
    return size


def _convolved(config: Config, embedded: int) -> float:
    width, kernel = int(config["hidden_size"]), int(config.get("conv_kernel_size") or 0)
    widened = 2.0 * embedded * width if embedded != width else 0.0
    return widened + 2.0 * kernel * width * width / int(config.get("conv_groups", 1))


def modernbert(config: Config) -> dict[str, Any]:
    """ModernBERT: gated networks, rotary positions, and local attention that is computed as a masked full one."""
    width, inside, layers = _shape(config)
    biased = bool(config.get("norm_bias")), bool(config.get("attention_bias")), bool(config.get("mlp_bias"))
    one = norm(width, biased[0])
    attention = linear(width, 3 * width, biased[1]) + linear(width, width, biased[1])
    network = linear(width, 2 * inside, biased[2]) + linear(inside, width, biased[2])
    embeddings = table(int(config["vocab_size"]), width) + one
    # The first layer has no norm before its attention; there is one after the last.
    size = embeddings + (attention + network + one.times(2)).times(layers)
    return _encoder(config, embeddings, size, matrices=3) | {"family": "modernbert"}


# --- encoders with decoders


def t5(config: Config) -> dict[str, Any]:
    """T5 and mT5; their output shares the embeddings: so transformers 5 builds all, whatever config.json says."""
    heads, layers, width = int(config["num_heads"]), int(config["num_layers"]), int(config["d_model"])
    inner, inside, vocabulary = heads * int(config["d_kv"]), int(config["d_ff"]), int(config["vocab_size"])
    made = int(config.get("num_decoder_layers") or layers)
    matrices = 3 if str(config.get("feed_forward_proj", "gated-gelu")).startswith("gated") else 2
    attention = linear(width, inner, bias=False).times(4) + norm(width, bias=False)
    network = linear(width, inside, bias=False).times(matrices) + norm(width, bias=False)
    around = table(int(config.get("relative_attention_num_buckets", _BUCKETS)), heads) + norm(width, bias=False)
    embeddings = table(vocabulary, width)
    stacks = (attention + network).times(layers) + (attention.times(2) + network).times(made) + around.times(2)
    per_network = matrices * 2.0 * width * inside
    return {
        "layers": layers,
        "width": width,
        "feed_forward": inside,
        "vocabulary": vocabulary,
        "embeddings": embeddings,
        "size": embeddings + stacks,
        "per_token": layers * (8.0 * width * inner + per_network),
        "per_pair": layers * 4.0 * inner,
        "decoder": _decoder(made, width, inner, per_network, vocabulary),
    }


def m2m100(config: Config) -> dict[str, Any]:
    """M2M100 and NLLB: positions are computed, and a norm follows each stack."""
    return _translator(config, norm(int(config["d_model"])).times(2))


def marian(config: Config) -> dict[str, Any]:
    """Marian: each stack has a table of positions, which is not learnt but counts among the parameters."""
    return _translator(config, table(int(config["max_position_embeddings"]), int(config["d_model"])).times(2))


def _translator(config: Config, around: Size) -> dict[str, Any]:
    width, vocabulary = int(config["d_model"]), int(config["vocab_size"])
    layers, made = int(config["encoder_layers"]), int(config["decoder_layers"])
    inside, other = int(config["encoder_ffn_dim"]), int(config["decoder_ffn_dim"])
    embeddings = table(vocabulary, width)
    one = _bert_layer(width, other) + linear(width, width).times(4) + norm(width)
    return {
        "layers": layers,
        "width": width,
        "feed_forward": inside,
        "vocabulary": vocabulary,
        "embeddings": embeddings,
        "size": embeddings + _bert_layer(width, inside).times(layers) + one.times(made) + around,
        "per_token": layers * (8.0 * width * width + 4.0 * width * inside),
        "per_pair": layers * 4.0 * width,
        "decoder": _decoder(made, width, width, 4.0 * width * other, vocabulary),
    }
