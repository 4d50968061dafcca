"""Files are whole or absent, also on a machine that fails."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from xstilts import files


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What reaches the disk and what gets its name, in order; temporary names without their random part."""
    seen: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace

    def on_disk(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        seen.append(("disk", re.sub(r"^\.(.*)\.[0-9a-f]{32}$", r"\1", name)))
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        seen.append(("name", target.name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", on_disk)
    monkeypatch.setattr(Path, "replace", renamed)
    return seen


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    files.write_json(tmp_path / "a.json", [1])
    assert events == [("disk", "a.json"), ("name", "a.json")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_result_is_on_the_disk_before_its_record_has_its_name(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    with files.staged(tmp_path / "result") as staging:
        (staging / files.RECORD).write_text("{}", encoding="utf-8")
        (staging / "z.parquet").write_text("z", encoding="utf-8")
    assert events == [
        ("disk", "z.parquet"),
        ("name", "z.parquet"),
        ("disk", "record.json"),
        ("name", "record.json"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half"), files.staged(tmp_path / "result") as staging:
        (staging / files.RECORD).write_text("{}", encoding="utf-8")
        raise ValueError("half")
    with pytest.raises(ValueError, match="half"), files.atomic(tmp_path / "file") as temporary:
        temporary.write_text("x", encoding="utf-8")
        raise ValueError("half")
    assert list(tmp_path.iterdir()) == []
