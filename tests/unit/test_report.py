"""The report: one page that needs nothing else, says what the tables say, and opens in a browser without errors."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.unit import made_study

from xstilts.analysis import comparison, published, report, tables

ABOUT: dict[str, Any] = {
    "study": "s",
    "recipes": ["jiant"],
    "world": False,
    "backbones": [
        {"name": "b", "model": "xlm-roberta-large", "hub": "FacebookAI/xlm-roberta-large", "revision": "unpinned",
         "retrieval_layer": 14, "retrieval_length": 512, "precision": "bf16"},
    ],
    "arms": [{"name": name, "block": "none" if name == "none" else "single", "mlm": False,
              "tasks": [] if name == "none" else [name]} for name in made_study.LEVELS],
    "targets": [{"name": n, "languages": list(made_study.LANGUAGES), "train_set": n} for n in ("pawsx", "xnli")],
    "partial": ["pawsx"],
    "seeds": list(made_study.SEEDS),
    "left_out": {"hellaswag": "its <data> is not there"},
    "unpinned": ["nyu-mll/glue"],
    "delta_range": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    made_study.write(folder)
    log = folder / "finetune" / "b" / "qqp" / "pawsx" / "seed-1" / "d" / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"step": 1, "loss": 0.7}\n{"step": 5, "loss": 0.2}\n{"step": 5, "dev": 81.0}\n', encoding="utf-8")
    (log.parent / "record.json").write_text('{"digest": "d", "wall_seconds": 7200, "device": "H100"}', encoding="utf-8")
    step = {"name": "finetune/b/qqp/pawsx/seed-1", "folder": str(log.parent.relative_to(folder))}
    job = {"name": "report", "digest": "d", "plan": {}, "about": ABOUT, "tables": str(folder / "tables")}
    paths = {"root": str(folder), "place": str(folder), "output": str(folder / "c" / "d"), "steps": [step]}
    report.make(job | paths)
    return folder


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page(made: Path) -> Page:
    return Page((made / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_whole_and_needs_nothing_else(page: Page) -> None:
    assert page.open == []
    assert {tag for tag, _ in page.seen}.isdisjoint({"script", "img", "iframe"})
    links = [value for _, attrs in page.seen for key, value in attrs.items() if key in ("href", "src")]
    assert all(value and value.startswith(("#", "data:")) for value in links)
    anchors = {attrs["id"] for tag, attrs in page.seen if tag == "section"}
    assert {str(value)[1:] for value in links if str(value).startswith("#")} == anchors


def test_every_figure_has_a_text_and_every_table_a_caption(page: Page) -> None:
    drawings = [attrs for tag, attrs in page.seen if tag == "svg"]
    assert drawings and all(len(str(attrs.get("aria-label"))) > 20 and attrs["role"] == "img" for attrs in drawings)
    tags = [tag for tag, _ in page.seen]
    assert tags.count("table") == tags.count("caption") > 10


def test_the_page_says_what_the_tables_say(page: Page, made: Path) -> None:
    text = " ".join("".join(page.text).split())
    cells = tables.read(made / "tables", "significance")
    own = cells[(cells["intermediate"] == "qqp") & (cells["target"] == "pawsx")]
    own = own[(own["split"] == "test") & (own["runs"] == "all")].iloc[0]
    assert f"{own['delta']:+.1f}*" in "".join(page.text)
    assert "Degenerate: ccg on pawsx, seed" in text
    assert "hellaswag is left out: its <data> is not there." in text
    assert "Not pinned to a commit: nyu-mll/glue." in text
    assert "ORACLE: chosen on test" in text
    assert "H100" in text and "2.0" in text


@pytest.mark.parametrize(
    ("controls", "told"),
    [
        ((), "The highest is qqp"),
        (("qqp",), "The highest control is qqp"),
        (("mnli", "ccg"), "1 intermediate is above it."),
    ],
)
def test_the_answer_counts_no_control_as_an_intermediate(made: Path, controls: tuple[str, ...], told: str) -> None:
    arms = [{**arm, "block": "control" if arm["name"] in controls else arm["block"]} for arm in ABOUT["arms"]]
    job = {"about": {**ABOUT, "arms": arms}, "root": str(made), "tables": str(made / "tables"), "steps": []}
    answer = " ".join("".join(report.Report(job).question()).split())
    assert told in answer and f"Of {3 - len(controls)} intermediates" in answer


def test_an_intermediate_fine_tuned_otherwise_is_no_control(made: Path) -> None:
    arms = [{**arm, "block": "control", "like": "mnli"} if arm["name"] == "qqp" else arm for arm in ABOUT["arms"]]
    job = {"about": {**ABOUT, "arms": arms}, "root": str(made), "tables": str(made / "tables"), "steps": []}
    answer = "".join(report.Report(job)._answer("b", "test"))
    assert "Of 2 intermediates" in answer and "control" not in answer and "qqp" not in answer


def test_a_study_of_one_seed_says_what_it_cannot(made: Path) -> None:
    job = {"about": {**ABOUT, "seeds": [1]}, "root": str(made), "tables": str(made / "tables"), "steps": []}
    found = list(report.Report(job)._caveats())
    assert any("1 seed: a test over pairs of runs can reach p = 1." in line for line in found)


def test_the_published_table_stands_beside_ours_with_its_source(made: Path) -> None:
    found = pd.read_csv(made / "comparison.csv")
    assert set(found["row"]) == {"none", "qqp", "ccg"}  # the paper has no row mnli
    own = found[(found["row"] == "qqp") & (found["target"] == "pawsx") & (found["split"] == "dev")].iloc[0]
    printed = [
        n for n in published.numbers()
        if (n.source.key, n.part, n.row, n.target) == ("x-stilts-v1", "without MLM", "qqp", "pawsx")
    ]  # fmt: skip
    assert own["published"] == printed[0].value == -2.1
    assert own["difference"] == pytest.approx(own["ours"] - own["published"])
    assert found["source"].str.contains("2005.13013v1").all()


def test_a_row_with_mlm_stands_beside_its_own_printed_row() -> None:
    arms = {"q": {"block": "single", "mlm": True, "tasks": ["qqp"]}}
    line = comparison.Line("With MLM", "q", True, {"xnli": (1.0,)})
    (found,) = comparison.compared([line], arms, "b", "dev")
    assert (found["published"], found["part"], found["difference"]) == (-0.5, "with MLM", 1.5)


def test_printed_rows_are_those_of_the_paper() -> None:
    dev, test = comparison.theirs("dev"), comparison.theirs("test")
    baseline = next(line for line in dev if not line.delta)
    assert baseline.texts(["xnli", "xquad", "avg"]) == ["80.1", "76.1/60.0", "67.2"]
    assert [line.name for line in test] == ["XLM-R (Hu et al.)", "XLM-R (ours)", "Our best models", "Human"]
    assert sum(line.block == "With MLM" for line in dev) == 8
    assert "with MLM, qqp: avg is printed as +5.1; its cells give +7.1." in comparison.notes("dev")


def test_the_main_table_as_text(made: Path) -> None:
    markdown = (made / "main_table.md").read_text(encoding="utf-8")
    assert "| b, test | pawsx | xnli | avg | avg_without_retrieval |" in markdown
    assert "| **Without MLM** |" in markdown
    latex = (made / "main_table.tex").read_text(encoding="utf-8")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert r"avg\_without\_retrieval" in latex and "−" not in latex


BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--window-size=1280,900",
]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_errors_or_sideways_scrolling(made: Path, tmp_path: Path, width: int) -> None:
    text = (made / "report.html").read_text(encoding="utf-8").replace("&", "&amp;").replace('"', "&quot;")
    measure = "document.title=f.contentDocument.documentElement.scrollWidth"
    frame = f'<iframe id="f" width="{width}" height="800" style="border:0" srcdoc="{text}" onload="{measure}"></iframe>'
    (tmp_path / "frame.html").write_text(f'<meta charset="utf-8"><body style="margin:0">{frame}', encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path}/user", "--dump-dom", f"file://{tmp_path}/frame.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(\d+)</title>", done.stdout)
    assert title and int(title[1]) <= width
