"""A model repository's files from the hub: those that the caller names, never code or pickles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xstilts.errors import UserError
from xstilts.schema.data import UNPINNED


def download(what: str, hub: str, revision: str, wanted: Sequence[str]) -> tuple[Path, str]:
    """The local folder of a repository, and its commit.

    Args:
        what: the repository's part in the study, for the error.
        wanted: patterns of file names.

    Raises:
        UserError: it cannot be fetched, nor is it in the cache.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    asked = None if revision == UNPINNED else revision
    try:
        folder = Path(snapshot_download(hub, revision=asked, allow_patterns=list(wanted)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        remedy = "check id, revision and network, or give a directory with `path`"
        raise UserError(f"{what} {hub} (revision {revision}): cannot be fetched: {reason}; {remedy}") from None
    # A snapshot's folder is named by its commit.
    return folder, folder.name if folder.parent.name == "snapshots" else str(HfApi().model_info(hub).sha)
