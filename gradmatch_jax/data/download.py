"""Fetching original files into the cache by pooch: taken up where they were cut, checked by md5.

pooch knows the address and the checksum, and puts the file under its name when it is whole; what
downloads for it is ours, for its own starts anew each time and reads without end.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gradmatch_jax.data.files import MOST_BYTES, md5_of, one_line
from gradmatch_jax.errors import UserError

_CHUNK = 1 << 18  # bytes


class Remote(NamedTuple):
    """A published file: its name, its address and its md5 (hexadecimal)."""

    name: str
    url: str
    md5: str


def fetch(remote: Remote, directory: Path, *, timeout: float = 60.0) -> Path:
    """Return `directory / remote.name`, downloading it first if it is not there.

    The file appears under its name only when it is complete and its md5 agrees. What a download
    that was cut has left is gone on from; where that does not agree, it is fetched anew, once.

    timeout: seconds without an answer before giving up

    Raises:
      UserError: if the download fails, the md5 differs (of what lies there already, too), or the
        directory cannot be written.
    """
    target = directory / remote.name
    if target.is_file():
        return _published(target, remote)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone(directory):
            if target.is_file():  # another process was quicker
                return _published(target, remote)
            _download(remote, directory, timeout)
    except OSError as error:
        raise UserError(
            f"cannot write to the cache {directory}: {one_line(error)}; "
            f"set XDG_CACHE_HOME or pass --data-dir with {remote.name}"
        ) from error
    return target


def _published(target: Path, remote: Remote) -> Path:
    if md5_of(target) != remote.md5:
        raise UserError(
            f"{target} is not what was downloaded (md5 {md5_of(target)}, published "
            f"{remote.md5}); remove it, and it is downloaded again"
        )
    return target


def _download(remote: Remote, directory: Path, timeout: float) -> None:
    import pooch
    import requests

    print(f"downloading {remote.url} to {directory}", file=sys.stderr)
    pooch.get_logger().setLevel("WARNING")  # it would say the same
    part = directory / f".{remote.name}.part"
    download: Any = _Resuming(part, timeout)
    while True:
        resumed = part.exists()
        try:
            pooch.retrieve(
                remote.url, f"md5:{remote.md5}", remote.name, directory, downloader=download
            )
            return
        except requests.RequestException as error:
            kept = part.stat().st_size if part.exists() else 0
            again = f"run it again to go on after {kept} bytes, or " if kept else ""
            raise UserError(
                f"cannot download {remote.url}: {one_line(error)}; {again}"
                f"pass --data-dir with {remote.name}"
            ) from error
        except ValueError as error:  # another md5; what was fetched is removed
            if not resumed:
                raise UserError(
                    f"{remote.url} is not what was published: {one_line(error)} "
                    f"Pass --data-dir with the original {remote.name}"
                ) from error


class _Resuming:
    """What pooch downloads with: goes on from a part, to a bound, and shows how far it is."""

    def __init__(self, part: Path, timeout: float):
        self._part, self._timeout = part, timeout

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        """Complete the part, and hand it over for pooch to check."""
        with self._part.open("ab") as out:
            try:
                self._complete(url, out)
            finally:
                if out.tell() == 0:
                    self._part.unlink()
        os.replace(self._part, output_file)

    def _complete(self, url: str, out: Any) -> None:
        import requests

        have = out.tell()
        # As it is: a compressed answer could not be gone on with, and would be unpacked.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, stream=True, timeout=self._timeout, headers=headers) as answer:
            if have and answer.status_code != requests.codes.partial:
                have = _emptied(out)  # no part is given, or there is none behind it
                if answer.status_code == requests.codes.requested_range_not_satisfiable:
                    return self._complete(url, out)
            answer.raise_for_status()
            length = answer.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else None
            with _bar(self._part.name[1:-5], have, total) as advance:
                for chunk in answer.iter_content(_CHUNK):
                    out.write(chunk)
                    advance(len(chunk))
                    if out.tell() > MOST_BYTES:
                        _emptied(out)
                        raise requests.RequestException("it has no end")
        return None


def _emptied(file: Any) -> int:
    """Where a file is, now that nothing is in it."""
    file.seek(0)
    return file.truncate()


@contextmanager
def _bar(name: str, have: int, total: int | None) -> Iterator[Any]:
    """Bytes as they come, where stderr is a terminal; what to call with their number."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    shown = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(name, total=total, completed=have)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process at a time in a folder: the others wait."""
    try:
        import fcntl
    except ImportError:  # no such locks here
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
