# The study's front door: reads the config, includes the phases in the order the data flows, names the targets.
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.21")

if not Path("workflow/scripts").is_dir():
    sys.exit(
        f"xstilts: run snakemake in {workflow.basedir}, or with --directory {workflow.basedir}"
    )

# A config file given on the command line replaces the default; left alone, Snakemake would merge the two.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/terminal.smk"
include: "workflow/rules/slurm.smk"


wildcard_constraints:
    digest="[0-9a-f]{16}",
    seeds="seed[^/]*",
    dataset="[^/]+",
    external="[^/]+",
    backbone="[^/]+",
    intermediate="[^/]+",
    train_set="[^/]+",
    phase="intermediate|finetune|predict",
    trained="[^/]+",
    target="[^/]+",


# On a cluster these run where Snakemake does: they take seconds and load no torch.
localrules:
    all,
    all_baselines,
    all_matrix,
    all_submissions,
    all_data,
    all_data_all,
    preflight,
    tabulate,
    figures,
    verify_published,
    verify_baseline,


include: "workflow/rules/prepare.smk"
include: "workflow/rules/translate.smk"
include: "workflow/rules/backbone.smk"
include: "workflow/rules/tokenize.smk"
include: "workflow/rules/intermediate.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/submission.smk"
include: "workflow/rules/overlap.smk"
include: "workflow/rules/tabulate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/verify.smk"


# The baseline and every single English intermediate x targets: predictions, scores, tables and figures.
rule all_matrix:
    default_target: True
    input:
        everything("matrix"),


# All other rows: multi-task, with MLM, translated, controls (docs/baselines.md).
rule all_baselines:
    input:
        everything("baselines"),


# Both, side by side, and the report on them.
rule all:
    input:
        everything("matrix"),
        everything("all"),
        reported("all"),


# Every dataset of the matrix, and its backbones that are fetched: what needs the network, for a run on a login node.
rule all_data:
    input:
        fetched("matrix"),


# The same of all rows.
rule all_data_all:
    input:
        fetched("all"),


# XTREME submission files, and gold labels in their layout, of every checkpoint.
rule all_submissions:
    input:
        submissions,


onsuccess:
    print_matrix()
    print_verdicts()
