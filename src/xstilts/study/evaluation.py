"""The steps that use checkpoints: predictions, scores and submission files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xstilts import config, digest, history, tasks
from xstilts.study.grid import remembered
from xstilts.study.step import ENCODER, Cell, Seeds, Step, Table
from xstilts.study.training import DECODING, WINDOWS, TrainingSteps


class EvaluationSteps(TrainingSteps):
    """The study's predictions and scores."""

    @remembered
    def predict(self, backbone: str, intermediate: str, group: str, seeds: Seeds) -> Step:
        """Predictions of one checkpoint, for every target that it serves and every language."""
        checkpoint = self._predictor(backbone, intermediate, group, seeds)
        parts = [
            {**part, "digest": digest.of([defined, checkpoint.digest])}
            for part, defined in self._predicted(backbone, group)
        ]
        needs = dict.fromkeys((checkpoint, *map(self._data_of, self._tables(group)), *self.tokenized(backbone, group)))
        folders = (backbone, intermediate, group, seeds.folder)
        inputs = {part["name"]: part["digest"] for part in parts}
        files = ("record.json", *(f"{name}.parquet" for name in inputs))
        payload = {
            "checkpoint": str(checkpoint.directory),
            "parts": parts,
            "batch_tokens": self.study.evaluation.batch_tokens,
            "compute": self._compute(ranks=1),
            "store": str(self.root / "predictions" / "store"),
            "tokens": str(self.root / "tokens"),
        }
        slice_ = self._predict_slice(backbone, group)
        detail = self._predict_detail(group, checkpoint)
        return self._step(
            "predict", folders, slice_, inputs, {}, tuple(needs), files=files, payload=payload, detail=detail
        )

    @remembered
    def _tables(self, group: str) -> list[Table]:
        """The tables that a checkpoint of a train set gives, those of further rules last."""
        own = [Table(target, language) for target in self.train_sets()[group] for language in self.languages(target)]
        if group == ENCODER:
            return own
        chosen = self.selection(group)
        also = ((rule, replace(table, variant=chosen.variant(rule))) for rule in chosen.rules[1:] for table in own)
        return [*own, *(table for rule, table in also if rule != "oracle" or self._has_dev(table))]

    def _has_dev(self, table: Table) -> bool:
        return any(part.split == "dev" for part in self._evaluated(table.target, table.language))

    def _predict_detail(self, group: str, checkpoint: Step) -> dict[str, Any]:
        return {"checkpoint": checkpoint.digest, **self._predicted_data(group)}

    @remembered
    def _predicted_data(self, group: str) -> dict[str, Any]:
        """The data and the code of each table that a checkpoint of the train set gives."""
        tables = self._tables(group)
        data = {t.name: {"data": {p.split: p.digest for p in self._evaluated(t.target, t.language)}} for t in tables}
        return history.coded(data, {t.name: self._predict_code(t.target, group) for t in tables})

    @remembered
    def _predict_code(self, target: str, group: str) -> dict[str, str]:
        entries = ["xstilts.evaluation.predict", f"xstilts.tasks.features.{tasks.get(target).kind}"]
        entries += [f"xstilts.evaluation.{m}" for m in ("embed", "search")] if group == ENCODER else []
        return self._code("predict", *entries)

    def _predictor(self, backbone: str, intermediate: str, group: str, seeds: Seeds) -> Step:
        if group == ENCODER:
            return self.encoder(backbone, intermediate, seeds.intermediate)
        return self.finetune(backbone, intermediate, group, seeds)

    @remembered
    def _predict_slice(self, backbone: str, group: str) -> dict[str, Any]:
        slice_: dict[str, Any] = {"precision": self.study.compute.precision}
        if group == ENCODER:
            layer = self.study.backbones[backbone].retrieval_layer
            layers = "all" if self.study.evaluation.retrieval_layers == "all" else [layer]
            length = config.retrieval_length(self.study)
            retrieval = {
                "layers": layers,
                "max_length": length,
                "neighbours": self.study.evaluation.neighbours,
            }
            return slice_ | {"hyper": None, "retrieval": retrieval}
        hyper = config.hyperparameters(self.study, "finetune", group).model_dump(mode="json")
        lengths = ("max_length", *(WINDOWS + DECODING if tasks.get(group).kind == "span" else ()))
        return slice_ | {"hyper": {key: hyper[key] for key in lengths}, "retrieval": None}

    @remembered
    def _predicted(self, backbone: str, group: str) -> list[tuple[dict[str, Any], str]]:
        """Each table that a train set's checkpoints give: what it is, and the digest of all of it but a checkpoint."""
        slice_ = self._predict_slice(backbone, group)
        found = []
        for table in self._tables(group):
            task, data = tasks.get(table.target), self._data_of(table)
            parts = {part.split: part.digest for part in self._evaluated(table.target, table.language)}
            told = {
                "name": table.name,
                "task": table.target,
                "kind": task.kind,
                "labels": task.labels,
                "language": table.language,
                "variant": table.variant,
                "data": {split: str(data.directory / f"{split}.{table.language}.parquet") for split in parts},
            }
            what = [table.target, task.kind, task.labels, table.language, table.variant]
            found.append((told, digest.of([slice_, what, parts, self._predict_code(table.target, group)])))
        return found

    def _data_of(self, table: Table) -> Step:
        return self.prepare(self.study.targets[table.target].dataset or table.target)

    @remembered
    def score(self, cell: Cell) -> Step:
        """The official metrics of one cell, per language and averaged."""
        task = tasks.get(cell.target)
        group = self.train_set(cell.target) or ENCODER
        row = self.trained_as(cell.intermediate) if group == ENCODER else cell.intermediate
        predicted = self.predict(cell.backbone, row, group, cell.seeds)
        parts = [p for p in predicted.payload["parts"] if p["task"] == cell.target]
        predictions: dict[str | None, dict[str, str]] = {}
        for part in parts:
            place = predictions.setdefault(part["variant"] and self._labelled(group, part["variant"]), {})
            place[part["language"]] = f"{predicted.directory}/{part['name']}.parquet"
        scorer = task.scorer or task.criterion.split(".")[0]
        slice_ = {
            "task": cell.target,
            "kind": task.kind,
            "metrics": task.metrics,
            "scorer": scorer,
            "variant": self._variant(group),
        }
        code = self._code("score", "xstilts.evaluation.score", f"xstilts.metrics.{scorer}")
        inputs = {p["name"].removeprefix(f"{cell.target}/"): p["digest"] for p in parts}
        folders = (cell.backbone, cell.intermediate, cell.target, cell.seeds.folder)
        files = ("scores.json", "examples.parquet", "record.json")
        payload = {"predictions": predictions.pop(None), "also": predictions}
        return self._step("score", folders, slice_, inputs, code, (predicted,), files, payload)

    def _variant(self, group: str) -> str | None:
        if group == ENCODER:
            return None
        chosen = self.selection(group)
        return self._labelled(group, chosen.variant(chosen.checkpoint))

    def _labelled(self, group: str, variant: str) -> str:
        """A rule's name in the results, which tells of a dev part that leaks."""
        return f"{variant}-paper-dev" if self.paper_dev(group) else variant

    @remembered
    def submissions(self) -> dict[tuple[str, ...], Step]:
        """XTREME submission files by (backbone, intermediate, seeds); made on request, not part of the matrix.

        They hold every XTREME target of the study. The seeds are those of phase 3, where the study has one; retrieval
        comes from the encoder that phase 3 started from.
        """
        group = next((g for g in self.train_sets() if g != ENCODER), ENCODER)
        return {
            (backbone, intermediate, seeds.folder): self._submission(backbone, intermediate, seeds)
            for backbone in self.study.backbones
            for intermediate in self.intermediates
            for seeds in self.seeds(intermediate, group)
        }

    def _submission(self, backbone: str, intermediate: str, seeds: Seeds) -> Step:
        parts: list[dict[str, str]] = []
        inputs: dict[str, str] = {}
        needs: dict[Step, None] = {}
        for target in self.study.targets:
            if target not in config.xtreme_languages():
                continue
            own = seeds if self.train_set(target) else Seeds(seeds.intermediate, None)
            scored = self.score(Cell(backbone, intermediate, target, own))
            data = self.prepare(self.study.targets[target].dataset or target)
            needs |= dict.fromkeys((*scored.needs, data))
            inputs |= {f"{target}/{lang}": scored.inputs[lang] for lang in scored.payload["predictions"]}
            for language, path in scored.payload["predictions"].items():
                test = str(data.directory / f"test.{language}.parquet")
                parts.append({"task": target, "language": language, "predictions": path, "data": test})
        slice_ = {"layer": self.study.backbones[backbone].retrieval_layer}
        code = self._code("submission", "xstilts.evaluation.export")
        folders = (backbone, intermediate, seeds.folder)
        return self._step("submission", folders, slice_, inputs, code, tuple(needs), payload={"parts": parts})
