"""The only module that opens data: every location is a path, on this disk or in a bucket.

cloudpathlib reads the address's scheme and takes credentials from environment variables; all other modules see paths.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast
from uuid import uuid4

from .errors import Problem

if TYPE_CHECKING:  # its import takes longer than all else that a command does with files on this disk
    from cloudpathlib import CloudPath

Location: TypeAlias = "Path | CloudPath"

AHEAD = 8 << 20  # bytes of a file in a bucket that are fetched at a time

# boto3 reads these when a client is made. Its "standard" retries are over within seconds: they start at 50 ms, and all
# parts of an upload share one allowance. "legacy" waits about a minute in all, enough for a store to restart. Some
# stores other than Amazon's refuse the checksums that boto3 adds by default. And cloudpathlib would leave a copy of
# each file that it opens in the scratch, for as long as the process lives.
for name, value in {
    "AWS_RETRY_MODE": "legacy",
    "AWS_MAX_ATTEMPTS": "8",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "CLOUDPATHLIB_FILE_CACHE_MODE": "close_file",
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


def absolute(location: Location) -> Location:
    """Name a file or folder of this disk as processes in any folder can find it."""
    return location.absolute() if isinstance(location, Path) else location


@contextmanager
def fetched(location: Location) -> Iterator[Path]:
    """Give a file on this disk with the location's content; one that had to be downloaded goes when the block ends."""
    if isinstance(location, Path):
        yield location
        return
    with tempfile.TemporaryDirectory() as folder:
        yield location.download_to(Path(folder, location.name))


def stream(location: Location) -> BinaryIO:
    """Open a file for reading; of one in a bucket, only what is asked for is fetched, and nothing is kept on this disk.

    Raises:
        Problem: While it is read, if the file in the bucket is replaced meanwhile.
    """
    if isinstance(location, Path):
        return location.open("rb")
    return cast(BinaryIO, BufferedReader(_Remote(location), AHEAD))


class _Remote(RawIOBase):
    """A file in a bucket, of which ranges are read."""

    def __init__(self, location: "CloudPath") -> None:
        self._location = location
        self._mark = stamp(location)
        self._size = location.stat().st_size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = SEEK_SET) -> int:
        self._at = place + {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        found = _range(self._location, self._at, stop)
        if len(found) != stop - self._at or stamp(self._location) != self._mark:
            raise Problem(f"{self._location} was changed while it was read: run this again")
        buffer[: len(found)] = found
        self._at = stop
        return len(found)


def _range(location: "CloudPath", start: int, stop: int) -> bytes:
    """Fetch some bytes of a file in a bucket, by the store's own client."""
    client: Any = location.client
    bucket, _, key = str(location).partition("://")[2].partition("/")
    if location.cloud_prefix == "s3://":
        answer = client.client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
        return bytes(answer["Body"].read())
    return bytes(client.client.bucket(bucket).blob(key).download_as_bytes(start=start, end=stop - 1))


def stamp(location: Location) -> str:
    """Give a mark that changes when a file is replaced or written to, and is the same on all machines."""
    if isinstance(location, Path):
        state = location.stat()
        return f"{state.st_size} {state.st_mtime_ns}"
    return str(location.etag)  # type: ignore[attr-defined]  # as all of cloudpathlib's paths have it


def identity(location: Location) -> str:
    """Tell a file's content from others': by its hash or, in a bucket, by the mark that the store gives it."""
    return digest(location) if isinstance(location, Path) else stamp(location)


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
    draft = location.with_name(f".{location.name}.{uuid4().hex}")  # of no other process, on whatever machine
    try:
        yield draft
        if draft.exists():
            draft.replace(location)
    finally:
        draft.unlink(missing_ok=True)
        for parent in new:
            with suppress(OSError):  # it is not empty, as after a success
                parent.rmdir()


def remove(folder: Location) -> None:
    """Take a folder away, with all that is in it, even if another process does so at once."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.rmtree()


def digest(location: Location) -> str:
    """Compute a file's SHA-256 in hexadecimal."""
    with stream(location) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
