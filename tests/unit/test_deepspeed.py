"""DeepSpeed on a CPU starts without compiling anything: a killed compilation would hang every start after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.workspace import ROOT


@pytest.mark.slow
def test_nothing_is_compiled(tmp_path: Path) -> None:
    code = "from xstilts.training import deepspeed; deepspeed.join('cpu')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)
    assert list(tmp_path.iterdir()) == []
