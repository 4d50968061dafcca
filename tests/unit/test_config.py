"""The schema: what it accepts, what it refuses, and that the files generated from it are in step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from xstilts import config, config_files
from xstilts.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(p for p in (ROOT / "config").glob("*.yaml") if not p.name.endswith(".lock.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_committed_config_validates_and_its_recipe_covers_it(path: Path) -> None:
    study = config.load(yaml.safe_load(path.read_text(encoding="utf-8")))
    for arm in study.intermediates.values():
        for use in arm.tasks:
            assert config.hyperparameters(study, "intermediate", use.task).batch > 0


def test_generated_files_are_in_step() -> None:
    remedy = "run `python -m xstilts.config_files`"
    assert (ROOT / "config" / "config.yaml").read_text(encoding="utf-8") == config_files.default_yaml(), remedy
    assert (ROOT / "config" / "schema.json").read_text(encoding="utf-8") == config_files.schema_json(), remedy


def test_the_default_config_is_the_full_study() -> None:
    study = config.load(yaml.safe_load(config_files.default_yaml()))
    assert study == config.Study()
    assert len([name for name, arm in study.intermediates.items() if arm.in_matrix]) == 10
    assert len(study.targets) == 9
    assert study.seeds.intermediate == (1, 2, 3)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"studdy": "x"}, "studdy: unknown key; did you mean 'study'?"),
        ({"compute": {"rank": 2}}, "compute.rank: unknown key; did you mean 'ranks'?"),
        ({"backbones": {"b": {"hub": "x/y", "poolng": "cls"}}}, "did you mean 'pooling'?"),
        ({"intermediates": {"m": {"tasks": ["mnl"]}}}, "unknown task 'mnl'; did you mean 'mnli'?"),
        ({"targets": {"xnly": {}}}, "unknown target 'xnly'; did you mean 'xnli'?"),
        ({"targets": {"xnli": {"languages": ["en", "xx"]}}}, "targets.xnli.languages: unknown language 'xx'"),
        ({"targets": {"xnli": {"languages": ["en", "en"]}}}, "names a language twice"),
        ({"targets": {"mnli": {}}}, "targets.mnli: has no train set; name one with `train_set`"),
        ({"targets": {"xnli": {"train_set": "qqp"}}}, "has other labels or another kind"),
        ({"seeds": {"intermediate": [1, 2, 1]}}, "`intermediate` names a seed twice"),
        ({"recipe": "jant"}, "unknown recipe 'jant'; did you mean 'jiant'?"),
        ({"backbones": {"b": {}}}, "give exactly one of `hub`, `path`, `train`"),
        ({"backbones": {"../b": {"hub": "x/y"}}}, "backbones"),
        ({"study": "../elsewhere"}, "study: String should match pattern"),
        ({"study": ".."}, "study: String should match pattern"),
        ({"study": "a/b"}, "study: String should match pattern"),
        ({"intermediates": {"a/../..": {"tasks": ["mnli"]}}}, "intermediates"),
        ({"seeds": {"intermediate": [-1]}}, "seeds.intermediate.0: Input should be greater than or equal to 0"),
        ({"seeds": {"intermediate": [2**32]}}, "seeds.intermediate.0: Input should be less than 4294967296"),
        ({"seeds": {"intermediate": [1.5]}}, "seeds.intermediate.0: Input should be a valid integer"),
        ({"seeds": {"intermediate": [True]}}, "seeds.intermediate.0: Input should be a valid integer"),
        ({"seeds": {"finetune": [3, 3]}}, "`finetune` names a seed twice"),
        ({"data": {"world": {"seed": 2**70}}}, "data.world.seed: Input should be less than 4294967296"),
        ({"backbones": {"b": {"train": {"languages": ["en"], "seed": 2**70}}}}, "backbones.b.train.seed"),
        ({"targets": {"mlqa": {"languages": ["en", "ru"]}}}, "targets.mlqa.languages: the metric of mlqa has no rules"),
        ({"compute": {"ranks": 0}}, "compute.ranks"),
    ],
)
def test_a_mistake_is_one_line_that_names_key_and_remedy(raw: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        config.load(raw)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [-1.0e-5, 0, "fast", "1e-5x"])
def test_a_wrong_learning_rate_is_refused(rate: Any) -> None:
    own = {"based_on": "jiant", "defaults": {"learning_rate": rate}}
    study = config.load({"recipe": "own", "recipes": {"own": own}})
    with pytest.raises(UserError, match="learning_rate"):
        config.hyperparameters(study, "finetune", "pawsx")


def test_scientific_notation_without_a_dot_is_a_number() -> None:
    raw = yaml.safe_load("{recipe: own, recipes: {own: {based_on: jiant, finetune: {pawsx: {learning_rate: 1e-5}}}}}")
    assert raw["recipes"]["own"]["finetune"]["pawsx"]["learning_rate"] == "1e-5"
    assert config.hyperparameters(config.load(raw), "finetune", "pawsx").learning_rate == 1e-5


def test_a_derived_recipe_changes_only_what_it_names() -> None:
    base = config.hyperparameters(config.Study(), "finetune", "pawsx")
    own = {"based_on": "jiant", "finetune": {"pawsx": {"steps": 7}}}
    derived = config.hyperparameters(config.load({"recipe": "own", "recipes": {"own": own}}), "finetune", "pawsx")
    assert (derived.steps, derived.epochs) == (7, None)
    assert derived.model_copy(update={"steps": base.steps, "epochs": base.epochs}) == base


def test_a_length_replaces_one_of_the_other_unit_that_stood_before() -> None:
    recipes = {"own": {"based_on": "jiant", "defaults": {"steps": 7}}}
    derived = config.hyperparameters(config.load({"recipe": "own", "recipes": recipes}), "finetune", "pawsx")
    assert (derived.steps, derived.epochs) == (7, None)
    recipes["further"] = {"based_on": "own", "finetune": {"pawsx": {"epochs": 3}}}
    derived = config.hyperparameters(config.load({"recipe": "further", "recipes": recipes}), "finetune", "pawsx")
    assert (derived.steps, derived.epochs) == (None, 3)


def test_a_recipe_that_lacks_a_task_says_so() -> None:
    study = config.load({"recipe": "own", "recipes": {"own": {"defaults": {"learning_rate": 1.0}}}})
    with pytest.raises(UserError, match=r"recipe.own.finetune.xnli: the recipe has no values for this task"):
        config.hyperparameters(study, "finetune", "xnli")


def test_deep_merge_changes_neither_argument() -> None:
    base, over = {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}
    assert config.deep_merge(base, over) == {"a": {"b": 1, "c": 3}}
    assert base == {"a": {"b": 1, "c": 2}}
