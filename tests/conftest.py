"""Shared by all tests: where the real data lies, and that continuous integration skips nothing."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.dryruns import DryRuns
from tests.reduced import finished
from tests.workspace import Workspace

ROOT = Path(__file__).parents[1]
REALDATA = ROOT.parent / "shared" / "realdata"
settings.register_profile("full", max_examples=300, deadline=None, database=None, derandomize=True)
settings.register_profile("fast", settings.get_profile("full"), max_examples=50)


def pytest_configure(config: pytest.Config) -> None:
    """`make test-fast` draws fewer examples."""
    settings.load_profile("fast" if config.option.markexpr == "not slow" else "full")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The directory of small real files; tests that need it are skipped where it is absent."""
    if not REALDATA.is_dir():
        pytest.skip(f"no real data at {REALDATA}")
    return REALDATA


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With XSTILTS_NO_SKIP set (as `.ci/run` does), what would be skipped has failed."""
    report = yield
    if report.skipped and os.environ.get("XSTILTS_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where nothing may be: {report.longrepr}"
    return report


gc.disable()  # until all is imported, as in xstilts.job


def pytest_collection_finish() -> None:
    """Spare every training in this process a look for garbage through all that was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished reduced study; one for all workers of a run, and not to be changed."""
    base = tmp_path_factory.getbasetemp()
    return finished((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reduced")


@pytest.fixture(scope="session")
def dry_runs() -> Iterator[DryRuns]:
    """A process that has Snakemake loaded."""
    runs = DryRuns()
    yield runs
    runs.close()
