"""The only module that opens data: every location is a path, on this disk or in a bucket.

cloudpathlib reads the address's scheme and takes credentials from environment variables; all other modules see paths.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from .errors import Problem

if TYPE_CHECKING:  # its import takes longer than all else that a command does with files on this disk
    from cloudpathlib import CloudPath

Location: TypeAlias = "Path | CloudPath"

# boto3 reads these when a client is made. Its "standard" retries are over within seconds: they start at 50 ms, and all
# parts of an upload share one allowance. "legacy" waits about a minute in all, enough for a store to restart. Some
# stores other than Amazon's refuse the checksums that boto3 adds by default.
for name, value in {
    "AWS_RETRY_MODE": "legacy",
    "AWS_MAX_ATTEMPTS": "8",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}.items():
    os.environ.setdefault(name, value)


def locate(root: str, path: str = "") -> Location:
    """Find a path below the storage root; an absolute path or a whole address is used as it is."""
    whole = "://" in path or Path(path).is_absolute()
    base = _open(path if whole else root)
    return base if whole or not path else base / path


def _open(address: str) -> Location:
    if "://" not in address:
        return Path(address)
    from cloudpathlib import AnyPath, CloudPath

    try:
        path = AnyPath(address)
        if not isinstance(path, CloudPath):
            raise Problem(f"{address} cannot be opened: no store has addresses with {address.partition(':')[0]}://")
        path.client.set_as_default_client()  # which makes it, if this is the first
    except ValueError as error:  # the store's own address is invalid
        raise Problem(f"{address} cannot be opened: {error}") from error
    return path


def files(location: Location) -> dict[str, Location]:
    """List a file, or all files below a folder, by their names in it, in order.

    Names that begin with a dot or an underscore are passed over: other tools keep their own notes in such files.

    Raises:
        Problem: If there are none, or a link leads nowhere.
    """
    found = {location.name: location} if location.is_file() else dict(_below(location, "")) if location.is_dir() else {}
    if not found:
        raise Problem(f"{location}: no such file, and no folder with files in it")
    return dict(sorted(found.items()))


def _below(folder: Location, place: str) -> Iterator[tuple[str, Location]]:
    for item in folder.iterdir():
        if item.name.startswith((".", "_")):
            continue
        if item.is_dir():
            yield from _below(item, f"{place}{item.name}/")
        elif item.is_file():
            yield place + item.name, item
        else:
            raise Problem(f"{item} is a link that leads nowhere: correct it, or take it away")


def fetch(location: Location) -> Path:
    """Give a file on this disk with the location's content, downloaded if it is elsewhere."""
    return Path(os.fspath(location))


@contextmanager
def publish(location: Location) -> Iterator[Path]:
    """Write a file that appears at its location whole, when the block ends, or not at all, when it fails.

    If the block writes none, there is none, or the one that was there.
    """
    if not isinstance(location, Path):
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder, location.name)
            yield draft
            if draft.exists():
                location.upload_from(draft, force_overwrite_to_cloud=True)
        return
    new = [folder for folder in location.parents if not folder.exists()]
    location.parent.mkdir(parents=True, exist_ok=True)
    draft = location.with_name(f".{location.name}.{os.getpid()}")
    try:
        yield draft
        if draft.exists():
            draft.replace(location)
    finally:
        draft.unlink(missing_ok=True)
        for parent in new:
            with suppress(OSError):  # it is not empty, as after a success
                parent.rmdir()


def digest(file: Path) -> str:
    """Compute a file's SHA-256 in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
