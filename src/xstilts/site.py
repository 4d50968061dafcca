"""What a cluster asks of its users: account, partition, QoS, … from one small file, so that no rule is ever edited.

Keys are the resources of Snakemake's SLURM plugin, under `all` jobs, those with GPUs (`gpu`) or those without (`cpu`):

    all: {slurm_account: lab}
    gpu: {slurm_partition: gpu, constraint: a100}
    cpu: {slurm_partition: short}
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from xstilts.errors import ConfigError
from xstilts.schema.base import Model

VARIABLE = "XSTILTS_SITE"
DEFAULT = Path("site.yaml")


class Asked(Model):
    """Resources that jobs of one sort ask for besides what their rules do."""

    slurm_account: str | None = None
    slurm_partition: str | None = None
    qos: str | None = None
    constraint: str | None = None
    slurm_extra: str | None = Field(None, description="Further options of sbatch, as `--exclude=node7`.")
    gpu_model: str | None = Field(None, description="Asks for `--gpus=MODEL:NUMBER`.")
    gres: str | None = Field(None, description="`gpu` or `gpu:MODEL`: asks for `--gres=gpu:…:NUMBER` and not `--gpus`.")


class Site(Model):
    """A site file."""

    all: Asked = Asked()
    gpu: Asked = Asked()
    cpu: Asked = Asked()

    def resources(self, gpus: int) -> dict[str, Any]:
        """Snakemake resources of a job with so many GPUs on one node."""
        sort = self.gpu if gpus else self.cpu
        asked = self.all.model_dump(exclude_none=True) | sort.model_dump(exclude_none=True)
        gres = asked.pop("gres", None)
        if not gpus:
            asked.pop("gpu_model", None)
        elif gres:
            return {**asked, "gpu": 0, "gres": f"{gres}:{gpus}", "nodes": 1}
        return {**asked, "gpu": gpus, "nodes": 1}


def read() -> Site:
    """The site file that XSTILTS_SITE names, else `site.yaml` in the working directory, if there is one.

    Raises:
        ConfigError: the named file is missing, or a file holds something that is no site's.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else DEFAULT
    if not path.exists() and not named:
        return Site()
    try:
        return Site.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except OSError as error:
        raise ConfigError(f"{VARIABLE}={path}", f"{error.strerror}", "name the site file") from None
    except yaml.YAMLError as error:
        raise ConfigError(str(path), f"no YAML ({' '.join(str(error).split())})", "correct it") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = f"{', '.join(Site.model_fields)}, each with {', '.join(Asked.model_fields)}"
        raise ConfigError(f"{path}: {key}", first["msg"], f"known are {known}") from None
