"""What jobs leave out of their imports: nothing that they use, and nobody who wants it has to do without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import transformers as hf
from test_packing import ENCODERS
from test_predict import NLI, PAIRS, TOKENIZER, add_part, bare_job
from transformers.utils import import_utils

from xstilts.evaluation.predict import predict
from xstilts.models import checkpoint
from xstilts.models.heads import HeadSpec
from xstilts.models.task_model import TaskModel

LEAN = "import sys; from xstilts import lean; lean.begin('xstilts.evaluation.predict:predict')\n"
pytestmark = pytest.mark.slow


def ran(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def predictions(name: str, directory: Path) -> tuple[Path, Path]:
    """A job's file over a checkpoint of an architecture, and where its predictions will be."""
    torch.manual_seed(0)
    encoder = hf.AutoModel.from_config(ENCODERS[name][1])
    encoder.pooler = None  # as every saved encoder is
    model = TaskModel(encoder, [HeadSpec("task", "pair", NLI, "mean")])
    (directory / "model").mkdir(parents=True)
    checkpoint.save(model, model.state_dict(), TOKENIZER, directory / "model")
    job = bare_job(directory)
    place = add_part(job, PAIRS, task="xnli", kind="pair", labels=sorted(NLI))
    (directory / "job.json").write_text(json.dumps(job), encoding="utf-8")
    return directory / "job.json", place


@pytest.mark.parametrize("name", ENCODERS)
def test_a_prediction_by_itself_is_the_same_and_loads_no_compiler(name: str, tmp_path: Path) -> None:
    job, alone = predictions(name, tmp_path / "alone")
    heavy = {"torch._dynamo.convert_frame", "torch.distributed.tensor", "sympy"}
    heavy |= {"pandas", "datasets", "deepspeed", "snakemake"}
    script = "import sys; from xstilts.job import main; main('xstilts.evaluation.predict:predict')"
    assert ran(f"{script}; print({heavy} & set(sys.modules))", str(job)) == "set()"
    job, here = predictions(name, tmp_path / "here")
    predict(json.loads(job.read_text(encoding="utf-8")))
    assert pq.read_table(alone).equals(pq.read_table(here))


COMPILES = """
import torch
calls = []
def backend(graph, inputs):
    calls.append(graph)
    return graph.forward
marked = torch.compiler.disable(abs)
stand_in = torch._dynamo
doubled = torch.compile(lambda x: 2 * x, backend=backend)(torch.ones(2)).tolist()
print(marked is abs, stand_in is torch._dynamo, stand_in.disable is torch._dynamo.disable, len(calls), doubled)
"""

TAKES_A_PART = """
import torch._dynamo
stand_in = torch._dynamo
import torch._dynamo.utils as part
whole = sys.modules["torch._dynamo"]
own = sys.modules[part.__name__] is part
print(whole is stand_in, whole.utils is part, own, part.__spec__.origin == part.__file__)
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [(COMPILES, "True False True 1 [2.0, 2.0]"), (TAKES_A_PART, "False True True True")],
    ids=["compiles", "takes a part"],
)
def test_who_wants_the_compiler_gets_it_whole(code: str, expected: str) -> None:
    assert ran(LEAN + code) == expected


def test_transformers_finds_the_models_that_it_would_find_itself() -> None:
    folder = Path(hf.__file__).parent / "models"
    code = f"""
from transformers.utils import import_utils
found = import_utils.define_import_structure({str(folder)!r})
print(sorted((sorted(needs), sorted((k, sorted(v)) for k, v in modules.items())) for needs, modules in found.items()))
print(import_utils.create_import_structure_from_path.cache_info().maxsize)
"""
    found = import_utils.define_import_structure(str(folder))
    told = sorted(
        (sorted(needs), sorted((k, sorted(v)) for k, v in modules.items())) for needs, modules in found.items()
    )
    assert ran(LEAN + code) == f"{told}\nNone"  # kept for all folders: the changes took effect
