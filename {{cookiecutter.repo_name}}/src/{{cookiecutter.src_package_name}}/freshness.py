"""Whether the prepared tables are still those of the raw files, seen from the files' names and stamps.

A file is read only where its stamp has changed and its size has not, as after a copy.
"""

from collections import Counter
from operator import attrgetter, itemgetter

from omegaconf import DictConfig

from . import query, storage
from .errors import Problem, is_failure
from .tables import Manifest, Source

NAMED = 3  # files; more are counted


def changes(config: DictConfig, manifest: Manifest) -> list[str] | None:
    """Say of each raw file that is new, gone or another than the tables were made from what is the matter with it.

    Gives None where the raw files cannot be seen: a training needs the tables only, so they may be elsewhere by then.
    """
    try:
        return _changes(config, manifest)
    except Exception as error:
        if isinstance(error, OSError | Problem) or is_failure(error):
            return None
        raise


def describe(found: list[str] | None) -> str:
    """Put what has changed into a few words: "unchanged", "not seen", or "a.csv is new, b.csv has changed"."""
    if not found:
        return "not seen" if found is None else "unchanged"
    more = len(found) - NAMED
    return ", ".join([*found[:NAMED], *([f"and {more} more"] if more > 0 else [])])


def remarks(found: list[str] | None) -> list[str]:
    """Say in a line that the tables are older than the raw files, if they are."""
    if not found:
        return []
    return [f"the tables are older than the raw files ({describe(found)}): to train on these, run `make prepare` first"]


def _changes(config: DictConfig, manifest: Manifest) -> list[str]:
    listed = [storage.files(place) for place in query.known(config).values()]
    now = sorted((item for files in listed for item in files.items()), key=itemgetter(0))
    before = sorted(manifest.raw, key=attrgetter("path"))
    names, known = Counter(name for name, _ in now), Counter(source.path for source in before)
    moved = [*(f"{name} is new" for name in names - known), *(f"{name} is gone" for name in known - names)]
    pairs = [] if moved else zip(now, before, strict=True)
    return moved or [f"{name} has changed" for (name, file), source in pairs if not _is_same(file, source)]


def _is_same(file: storage.Location, source: Source) -> bool:
    if storage.stamp(file) == source.stamp:
        return True
    return file.stat().st_size == source.bytes and storage.digest(file) == source.sha256
