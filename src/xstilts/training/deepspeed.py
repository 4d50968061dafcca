"""DeepSpeed's configuration, and the process group it wants; imported only by trainings that use it."""

from __future__ import annotations

import importlib
import os
import socket
import warnings
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from xstilts.schema.training import DeepSpeed


def configuration(deepspeed: DeepSpeed, precision: str) -> dict[str, Any]:
    """DeepSpeed's own configuration; `auto` values are filled in by the Trainer from its arguments.

    The optimizer is PyTorch's AdamW, created by the Trainer, so that DeepSpeed compiles no kernel and biases and norms
    keep their freedom from weight decay.
    """
    zero: dict[str, Any] = {"stage": deepspeed.zero_stage}
    if deepspeed.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
    if deepspeed.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": precision == "bf16"},
        "fp16": {"enabled": precision == "fp16"},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
    }


def master_weights(model: nn.Module, optimizer: Any) -> dict[str, torch.Tensor]:
    """The fp32 weights that DeepSpeed's optimizer holds of a model in 16 bits; to be called by all ranks.

    Args:
        optimizer: DeepSpeed's own, at stage 0 the one that keeps them whole, in groups beside those of the model.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    groups = zip(getattr(optimizer, "fp16_groups", ()), getattr(optimizer, "fp32_groups", ()), strict=False)
    whole = {half: full for halves, fulls in groups for half, full in zip(halves, fulls, strict=True)}
    return {
        name: (whole[given] if given in whole else safe_get_full_fp32_param(given)).detach().cpu()
        for name, given in model.named_parameters(remove_duplicate=False)
    }


def join(device: str) -> None:
    """Join DeepSpeed's process group, also as a lone process, on a GPU (NCCL) or on the CPU (gloo).

    accelerate starts DeepSpeed by itself only on accelerators, hence the state that is configured here in advance.
    """
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
        _compile_nothing()
    if "LOCAL_RANK" not in os.environ:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        os.environ.update(alone, MASTER_PORT=str(_free_port()))
    # DeepSpeed calls deprecated names of torch.distributed, each of which would warn at every step.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend="gloo" if device == "cpu" else "nccl")


def _compile_nothing() -> None:
    """Keep DeepSpeed from compiling an operator that only its tensor-parallel inference uses.

    It does so at its first start on a CPU, under a lock file that a killed compilation leaves behind and every later
    start waits for without end (torch.utils.file_baton), and it probes compilers at every start.
    """
    # Not `from deepspeed.comm import torch`: that name is PyTorch itself. A module object has no attributes to mypy.
    backend = importlib.import_module("deepspeed.comm.torch")
    backend.build_shm_op = lambda: None  # type: ignore[attr-defined]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
