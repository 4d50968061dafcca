"""Operations and sizes against torch's own counter and against instantiated models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from xstilts.budget import architecture, loads, memory
from xstilts.budget.architecture import BACKWARD, Architecture
from xstilts.budget.families import Size
from xstilts.budget.missing import Missing
from xstilts.models import heads
from xstilts.models.encoder import drop_layers_above
from xstilts.models.heads import HeadSpec
from xstilts.models.task_model import TaskModel

ENCODERS = [
    *("FacebookAI/xlm-roberta-base", "FacebookAI/xlm-roberta-large", "google-bert/bert-base-multilingual-cased"),
    *("microsoft/mdeberta-v3-base", "google/rembert", "answerdotai/ModernBERT-base"),
]
MT5 = "google/mt5-small"
TRANSLATORS = ["facebook/m2m100_418M", "facebook/nllb-200-distilled-600M"]
MARIAN = {**architecture.shipped()[TRANSLATORS[0]], "model_type": "marian", "vocab_size": 58101}
MDEBERTA = "microsoft/mdeberta-v3-base"
# DeBERTa's other ways: positions of their own projections, narrow embeddings, types, a convolution, no buckets.
DEBERTA = architecture.shipped()[MDEBERTA] | {
    "share_att_key": False,
    "position_buckets": -1,
    "norm_rel_ebd": "none",
    "pos_att_type": ["c2p"],
    "embedding_size": 128,
    "type_vocab_size": 2,
    "position_biased_input": True,
    "conv_kernel_size": 3,
}
ONE = {"ranks": 1, "deepspeed": None}
LENGTHS = [16, *(pytest.param(length, marks=pytest.mark.slow) for length in (128, 512))]
SHALLOW = {
    **dict.fromkeys(("num_hidden_layers", "num_layers", "num_decoder_layers"), 2),
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_ffn_dim": 1024,
    "decoder_ffn_dim": 512,
}
FIRST = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "decoder_start_token_id")
WITHIN = {
    # With dropout attention is not fused.
    "modernbert": {**dict.fromkeys(FIRST, 0), "attention_dropout": 0.1},
    "marian": dict.fromkeys((*FIRST, "forced_eos_token_id"), 0),
}
"""Tokens that a small vocabulary has too."""


def hugging_face(raw: dict[str, Any], device: str = "cpu") -> Any:
    """The model of a config, as the study loads it (an encoder without its pooler)."""
    config = AutoConfig.for_model(**raw)
    with torch.device(device):
        if raw["model_type"] in ("m2m_100", "marian"):  # torch's counter does not see the fused attention of CPUs
            return AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager")
        if raw["model_type"] == "mt5":
            return AutoModelForSeq2SeqLM.from_config(config)
        pooled = {} if raw["model_type"] in ("deberta-v2", "modernbert") else {"add_pooling_layer": False}
        return AutoModel.from_config(config, **pooled)


def counted(model: Any, **inputs: torch.Tensor) -> tuple[int, int]:
    """Operations of a forward and of a backward pass by torch's counter."""
    with FlopCounterMode(display=False) as forward:
        output = model(**inputs)[0]
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def shallow(name: str, vocabulary: int) -> dict[str, Any]:
    return shallow_of(architecture.shipped()[name], vocabulary)


def shallow_of(raw: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    few = {key: value for key, value in SHALLOW.items() if key in raw}
    return raw | few | {"vocab_size": vocabulary} | WITHIN.get(raw["model_type"], {})


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", ENCODERS)
def test_operations_of_encoders_are_those_that_torch_counts(name: str, length: int) -> None:
    raw = shallow(name, vocabulary=100)
    ids = torch.randint(5, 90, (1, length))
    forward, backward = counted(hugging_face(raw), input_ids=ids, attention_mask=torch.ones_like(ids))
    expected = Architecture.of_config(raw, name).forward(1, length)
    assert forward == pytest.approx(expected, rel=0.02)
    assert backward == pytest.approx(BACKWARD * expected, rel=0.02)


@pytest.mark.parametrize("length", LENGTHS[:2])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("name", ENCODERS[1:3])
def test_operations_of_pairs_are_those_of_our_model(name: str, pooling: Any, length: int) -> None:
    raw = shallow(name, vocabulary=100)
    spec = HeadSpec("task", "pair", ("a", "b", "c"), pooling)
    model = TaskModel(hugging_face(raw), [spec]).train()  # with dropout attention is not fused, hence seen
    ids = torch.randint(5, 90, (3, length))
    with FlopCounterMode(display=False) as count:
        model(input_ids=ids, attention_mask=torch.ones_like(ids), lengths=(length,) * 3)
    counted = loads.Model(Architecture.of_config(raw, name), "pair", 3, "fp32", pooling)
    assert count.get_total_flops() == pytest.approx(counted.operations(3.0 * length, 3.0 * length**2, 3.0), rel=0.01)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_operations_up_to_a_layer_are_those_that_retrieval_takes(layer: int) -> None:
    raw = shallow(ENCODERS[0], vocabulary=100) | {"num_hidden_layers": 3}
    model, ids = hugging_face(raw).train(), torch.randint(5, 90, (2, 20))
    drop_layers_above(model, layer)
    forward, _ = counted(model, input_ids=ids, attention_mask=torch.ones_like(ids))
    assert forward == pytest.approx(Architecture.of_config(raw, "x").up_to(layer).forward(2, 20), rel=0.02)


@pytest.mark.parametrize("length", LENGTHS[:2])
def test_operations_of_debertas_other_ways(length: int) -> None:
    raw = shallow_of(DEBERTA, vocabulary=100)
    ids = torch.randint(5, 90, (2, length))
    forward, _ = counted(hugging_face(raw), input_ids=ids, attention_mask=torch.ones_like(ids))
    assert forward == pytest.approx(Architecture.of_config(raw, "x").forward(2, length), rel=0.02)


@pytest.mark.parametrize(
    ("source", "target", "beams"),
    [(16, 16, 1), *(pytest.param(*given, marks=pytest.mark.slow) for given in ((64, 24, 1), (32, 40, 3)))],
)
@pytest.mark.parametrize("raw", [architecture.shipped()[TRANSLATORS[0]], MARIAN], ids=["m2m100", "marian"])
def test_operations_of_translating_are_those_that_torch_counts(
    raw: dict[str, Any], source: int, target: int, beams: int
) -> None:
    small = shallow_of(raw, vocabulary=2000) | {"d_model": 256}
    model = hugging_face(small).eval()
    with FlopCounterMode(display=False) as count, torch.inference_mode():
        ids = torch.randint(5, 90, (2, source))
        made = model.generate(ids, num_beams=beams, do_sample=False, min_new_tokens=target, max_new_tokens=target)
    assert made.shape[1] == target + 1
    expected = Architecture.of_config(small, "x").generated(2, source, target, beams)
    assert count.get_total_flops() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("length", LENGTHS)
def test_operations_of_mt5_are_those_that_torch_counts(length: int) -> None:
    raw = shallow(MT5, vocabulary=5000)
    ids = torch.randint(5, 90, (1, length))
    forward, backward = counted(hugging_face(raw), input_ids=ids, decoder_input_ids=ids[:, : length // 4])
    expected = Architecture.of_config(raw, MT5).forward(1, length, length // 4)
    assert forward == pytest.approx(expected, rel=0.02)
    assert backward == pytest.approx(BACKWARD * expected, rel=0.02)


SHIPPED = [architecture.shipped()[name] for name in (*ENCODERS, MT5, *TRANSLATORS)]
XL = architecture.shipped()["FacebookAI/xlm-roberta-large"] | {"model_type": "xlm-roberta-xl"}


@pytest.mark.parametrize("raw", [*SHIPPED, MARIAN, DEBERTA, XL], ids=lambda raw: raw["model_type"])
def test_parameters_and_their_tensors_are_exactly_the_models(raw: dict[str, Any]) -> None:
    parameters = list(hugging_face(raw, "meta").parameters())
    size = Architecture.of_config(raw, "x").size
    assert size.parameters == sum(p.numel() for p in parameters)
    assert size.tensors == len(parameters)


@pytest.mark.parametrize("name", [*ENCODERS, MT5])
def test_optimizer_state_is_exactly_adamws(name: str) -> None:
    raw = shallow(name, vocabulary=50)
    parameters = list(hugging_face(raw).parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.AdamW(parameters)
    optimizer.step()
    held = sum(value.nbytes for state in optimizer.state.values() for value in state.values())
    assert memory.optimizer_bytes(Architecture.of_config(raw, name).size) == held


def test_parameters_of_mdeberta_are_those_that_its_keepers_print() -> None:
    raw = architecture.shipped()[MDEBERTA]
    assert Architecture.of_config(raw, "x").size.parameters == 278_218_752  # KerasHub: deberta_v3_base_multi


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "length", "within"),
    [(ENCODERS[0], 8, 0.1), ("google/rembert", 32, 0.1), ("answerdotai/ModernBERT-base", 8, 0.1), (MDEBERTA, 64, 0.2)],
)
def test_what_a_token_keeps_for_the_backward_pass_is_what_autograd_saves(
    name: str, length: int, within: float, precision: str
) -> None:
    raw, held = shallow(name, vocabulary=50) | {"attention_dropout": 0.0}, []
    for layers in (1, 3):  # the difference is free of embeddings and of what every pass keeps once
        model = hugging_face(raw | {"num_hidden_layers": layers}).train()
        held.append(saved_bytes(model, torch.randint(5, 40, (16, length)), precision))
    encoder = Architecture.of_config(raw, "x")
    expected = memory.training(encoder, Size(), ONE, precision, length).per_token
    assert (held[1] - held[0]) / (16 * length) == pytest.approx(expected, rel=within)


def saved_bytes(model: Any, ids: torch.Tensor, precision: str) -> int:
    """Bytes that autograd keeps of a forward pass, weights and 16-bit copies of them apart."""
    weights = {tuple(sorted(p.shape)) for p in model.parameters() if p.dim() == 2}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own and tuple(sorted(tensor.shape)) not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            alive.append(tensor)  # or its place would be given to another
        return tensor

    alive: list[torch.Tensor] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert output.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("kind", ["pair", "choice", "span", "tagging"])
def test_heads_have_exactly_the_parameters_of_the_modules(kind: Any) -> None:
    config = AutoConfig.for_model("xlm-roberta", hidden_size=48, num_attention_heads=4)
    built = heads.build(HeadSpec("task", kind, ("a", "b", "c"), "cls"), config)
    parameters = list(built.parameters())
    size = architecture.head(kind, 3, 48)
    assert (size.parameters, size.tensors) == (sum(p.numel() for p in parameters), len(parameters))


def test_an_architecture_that_is_not_counted_is_said_to_be() -> None:
    with pytest.raises(Missing, match="architecture 'mamba' is not counted"):
        Architecture.of_config({"model_type": "mamba"}, "x")


def test_a_checkpoint_on_disk_is_as_large_as_its_parameters(tmp_path: Any) -> None:
    raw = shallow("FacebookAI/xlm-roberta-base", vocabulary=3000)
    model = AutoModel.from_config(AutoConfig.for_model(**raw), add_pooling_layer=False)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    expected = 4 * Architecture.of_config(raw, "x").size.parameters
    assert (tmp_path / "model.safetensors").stat().st_size == pytest.approx(expected, rel=0.01)
