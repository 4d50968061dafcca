"""The grid: which steps a study consists of, what each depends on, and where its outputs stand.

Every step has one digest, over its slice of the config, its code and the digests of its inputs, and its outputs
stand in a folder of that name. So a step whose digest is unchanged is never computed again, a changed one never
overwrites or resumes another's files, and results may be moved, copied or cloned. Nothing here knows Snakemake or
torch.
"""

from xstilts.study.results import Plan, notices
from xstilts.study.step import ENCODER, RULE_FILES, Phase, Step

__all__ = ["ENCODER", "RULE_FILES", "Phase", "Plan", "Step", "notices"]
