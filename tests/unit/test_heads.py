"""Pooling, heads, loading of encoders, and checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_packing import ENCODERS
from tiny import backbone, encoder, tokenizer
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertModel

from xstilts.config import Hyperparameters
from xstilts.errors import ConfigError, UserError
from xstilts.models import checkpoint, pooling
from xstilts.models.encoder import check_length, load_encoder, load_tokenizer
from xstilts.models.heads import HeadSpec, loss_sum
from xstilts.models.task_model import TaskModel
from xstilts.tasks import features
from xstilts.tasks.features.common import IGNORED

HYPER = Hyperparameters(learning_rate=1e-3, batch=2, epochs=1, max_length=40)
ROWS = {
    "pair": [
        {"id": "1", "text_a": "the cat", "text_b": "mat", "label": "x"},
        {"id": "2", "text_a": "the cat sat on the mat", "text_b": "and the dog", "label": "y"},
    ],
    "choice": [
        {"id": "1", "context": "the cat", "question": "", "choices": ["sat", "ran"], "label": 1},
        {"id": "2", "context": "the dog sat on the mat", "question": "", "choices": ["ran", "sat", "mat"], "label": 2},
    ],
    "span": [
        {"id": "1", "title": "", "context": "the cat", "question": "who", "answers": ["cat"], "starts": [4]},
        {
            "id": "2",
            "title": "",
            "context": "a dog ran on the mat",
            "question": "who",
            "answers": ["dog"],
            "starts": [2],
        },
    ],
    "tagging": [
        {"id": "1", "tokens": ["the", "cat"], "tags": ["x", "y"]},
        {"id": "2", "tokens": ["the", "dog", "sat", "on", "the", "mat"], "tags": ["x", "y", "x", "y", "x", "y"]},
    ],
}
KINDS = tuple(ROWS)


def model(kind: str, pool: str = "mean", seed: int = 1) -> TaskModel:
    bare = encoder(len(tokenizer("bpe-metaspace")))
    torch.manual_seed(seed)
    labels = ("x", "y") if kind in ("pair", "tagging") else ()
    return TaskModel(bare, [HeadSpec("t", kind, labels, pool)]).eval()  # type: ignore[arg-type]


def batches(kind: str) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Both rows in one padded batch, and each alone."""
    module = features.of(kind)  # type: ignore[arg-type]
    encoded = module.encode(ROWS[kind], tokenizer("bpe-metaspace"), HYPER, ["x", "y"])
    return module.collate(encoded, 1), [module.collate([one], 1) for one in encoded]


def test_masked_mean_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[4.0, 0.0], [0.0, 2.0], [2.0, 4.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pooling.mean(hidden, mask).tolist() == [[2.0, 4.0], [2.0, 2.0]]
    assert pooling.pool(hidden, mask, "cls").tolist() == [[1.0, 2.0], [4.0, 0.0]]


def test_the_loss_is_a_sum_over_labelled_items_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0.0], [math.log(3.0), 0.0]], [[0.0, math.log(4.0)], [7.0, -7.0]]])
    labels = torch.tensor([[1, 0], [0, IGNORED]])
    assert loss_sum(logits, labels).item() == pytest.approx(math.log(2) + math.log(4 / 3) + math.log(5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_padding_changes_neither_loss_nor_logits(kind: str, pool: str) -> None:
    made, (together, alone) = model(kind, pool), batches(kind)
    both, each = made(**together), [made(**batch) for batch in alone]
    assert both["loss"].item() == pytest.approx(sum(one["loss"].item() for one in each), rel=1e-5)
    assert both["items"] == sum(one["items"] for one in each)
    for i, one in enumerate(each):
        own = one["logits"][0]
        padded = both["logits"][i][tuple(slice(n) for n in own.shape)]
        assert torch.allclose(own, padded, atol=1e-5)


@pytest.mark.parametrize(("kind", "items", "shape"), [("pair", 2, (2, 2)), ("choice", 2, (2, 3)), ("tagging", 8, None)])
def test_items_and_shapes(kind: str, items: int, shape: tuple[int, ...] | None) -> None:
    outputs = model(kind)(**batches(kind)[0])
    assert outputs["items"] == items
    assert shape is None or outputs["logits"].shape == shape


def test_span_logits_and_items() -> None:
    together, _ = batches("span")
    outputs = model("span")(**together)
    assert outputs["logits"].shape == (2, 2, together["input_ids"].shape[1])
    assert outputs["items"] == 4  # a start and an end each
    assert (outputs["logits"] == -torch.inf)[0, 0].equal(together["attention_mask"][0] == 0)


def test_missing_choices_have_no_probability() -> None:
    outputs = model("choice")(**batches("choice")[0])
    assert outputs["logits"][0, 2] == -torch.inf and torch.isfinite(outputs["logits"][0, :2]).all()
    assert torch.isfinite(outputs["loss"])


def test_without_labels_there_is_no_loss() -> None:
    together, _ = batches("pair")
    del together["labels"]
    assert set(model("pair")(**together)) == {"logits"}


def test_heads_are_fresh_and_seeded() -> None:
    one, same, other = (model("pair", seed=seed).heads["t"].state_dict() for seed in (1, 1, 2))
    assert all(one[name].equal(same[name]) for name in one)
    assert not one["dense.weight"].equal(other["dense.weight"])
    assert one["dense.bias"].abs().max() == 0
    assert one["dense.weight"].std().item() == pytest.approx(0.1, rel=0.2)  # the config's initializer_range


def test_token_types_reach_only_encoders_that_have_them() -> None:
    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    torch.manual_seed(0)
    bert = TaskModel(BertModel(config, add_pooling_layer=False), [HeadSpec("t", "pair", ("x", "y"), "cls")]).eval()
    ids = torch.tensor([[0, 7, 2, 8, 2]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "lengths": (5,)}
    types = torch.tensor([[0, 0, 0, 1, 1]])
    assert not bert(**batch)["logits"].equal(bert(**batch, token_type_ids=types)["logits"])
    roberta = model("pair")
    assert roberta(**batch)["logits"].equal(roberta(**batch, token_type_ids=types)["logits"])


def test_an_encoder_comes_bare_in_float32(tmp_path: Path) -> None:
    backbone(tmp_path)
    weights = {name: value.to(torch.bfloat16) for name, value in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_encoder(tmp_path)
    assert getattr(loaded, "pooler", None) is None
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert loaded.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("saved", ["bare", "within a masked LM"])
@pytest.mark.parametrize("architecture", ENCODERS)
def test_what_the_workflow_has_saved_is_read_as_transformers_reads_it(
    architecture: str, saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, config = ENCODERS[architecture]
    torch.manual_seed(0)
    if saved == "bare":
        make(config).save_pretrained(tmp_path / "pooled")
        checkpoint.save_encoder(load_encoder(tmp_path / "pooled"), tokenizer("bpe-metaspace"), tmp_path)
    else:
        AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    expected = AutoModel.from_pretrained(tmp_path)
    monkeypatch.setattr(make, "from_pretrained", None)
    loaded = load_encoder(tmp_path)
    for ours, theirs in ((loaded.state_dict(), expected.state_dict()), map(buffers, (loaded, expected))):
        assert ours.keys() == {name for name in theirs if not name.startswith("pooler.")}
        assert all(theirs[name].equal(value) for name, value in ours.items())
    assert not loaded.training
    ids = torch.tensor([[0, 7, 9, 11, 2]])
    assert loaded(ids).last_hidden_state.equal(expected(ids).last_hidden_state)
    assert all(p.requires_grad and p.grad is None for p in loaded.parameters())
    different = {k for k, v in loaded.config.to_dict().items() if expected.config.to_dict()[k] != v}
    assert different == set()
    before = (tmp_path / "model.safetensors").read_bytes()
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.add_(1)
    assert (tmp_path / "model.safetensors").read_bytes() == before  # mapped for this process alone


def buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_buffers())


def test_directories_that_are_no_model_are_named_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        load_encoder(tmp_path / "absent")
    (tmp_path / "readme.md").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match=r"no config\.json \(found: readme\.md\)"):
        load_encoder(tmp_path)
    backbone(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no safetensors weights .*pytorch_model\.bin"):
        load_encoder(tmp_path)


def test_weights_that_lack_a_parameter_are_refused(tmp_path: Path) -> None:
    """jiant's issue 1329: a prefix that did not match left an encoder untrained, with no more than a warning."""
    backbone(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {name.replace("encoder.", "xlm-encoder."): value for name, value in weights.items()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match=r"lack \d+ parameters of XLMRobertaModel, first encoder"):
        load_encoder(tmp_path)


def test_unknown_architectures_and_missing_tokenizers_are_errors(tmp_path: Path) -> None:
    backbone(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}', encoding="utf-8")
    with pytest.raises(UserError, match="not an encoder that can be loaded"):
        load_encoder(tmp_path)


def test_inputs_longer_than_the_positions_are_refused() -> None:
    config = encoder(50).config  # 66 positions, of which RoBERTa leaves the first two unused
    check_length(config, 64, "key")
    with pytest.raises(ConfigError, match="key: 65 tokens, but the backbone has 64 positions"):
        check_length(config, 65, "key")


def test_a_checkpoint_opens_with_hugging_face_and_gives_the_same_model_back(tmp_path: Path) -> None:
    made, (together, _) = model("pair"), batches("pair")
    checkpoint.save(made, made.state_dict(), tokenizer("bpe-metaspace"), tmp_path)
    bare = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)
    for name, value in made.encoder.state_dict().items():
        assert bare.state_dict()[name].equal(value)
    words = AutoTokenizer.from_pretrained(tmp_path)
    assert words("the cat")["input_ids"] == tokenizer("bpe-metaspace")("the cat")["input_ids"]
    loaded = checkpoint.load(tmp_path)
    assert checkpoint.spec(tmp_path) == HeadSpec("t", "pair", ("x", "y"), "mean")
    assert loaded(**together)["logits"].equal(made(**together)["logits"])


def test_a_backbone_has_no_head(tmp_path: Path) -> None:
    backbone(tmp_path)
    with pytest.raises(UserError, match=r"no head\.json"):
        checkpoint.load(tmp_path)


def test_a_change_of_mode_reaches_every_part_also_of_an_encoder_that_came_in_another() -> None:
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    encoder = BertModel(config, add_pooling_layer=False).eval()
    model = TaskModel(encoder, [HeadSpec("t", "pair", ("x", "y"), "cls")])
    for mode in (True, True, False, False, True):
        model.train(mode)
        assert {part.training for part in model.modules()} == {mode}
