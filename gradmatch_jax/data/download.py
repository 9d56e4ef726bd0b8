"""Fetching original files, checked by md5, into the cache."""

import hashlib
import http.client
import os
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

from gradmatch_jax.data.files import MOST_BYTES, md5_of, one_line
from gradmatch_jax.errors import UserError

_CHUNK = 1 << 20  # bytes


class Remote(NamedTuple):
    """A published file: its name, its address and its md5 (hexadecimal)."""

    name: str
    url: str
    md5: str


def fetch(remote: Remote, directory: Path, *, timeout: float = 60.0) -> Path:
    """Return `directory / remote.name`, downloading it first if it is not there.

    The file appears under its name only when it is complete and its md5 agrees, so a
    download cut short leaves nothing behind that a later run would trust.

    timeout: seconds without an answer before giving up

    Raises:
      UserError: if the download fails, the md5 differs (of what lies there already, too), or the
        directory cannot be written.
    """
    target = directory / remote.name
    if target.is_file():
        if md5_of(target) != remote.md5:
            raise UserError(
                f"{target} is not what was downloaded (md5 {md5_of(target)}, published "
                f"{remote.md5}); remove it, and it is downloaded again"
            )
        return target
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{remote.name}.", dir=directory)
    except OSError as error:
        raise UserError(
            f"cannot write to the cache {directory}: {one_line(error)}; "
            f"set XDG_CACHE_HOME or pass --data-dir with {remote.name}"
        ) from error
    try:
        print(f"downloading {remote.url} to {directory}", file=sys.stderr)
        digest = hashlib.md5(usedforsecurity=False)
        with (
            os.fdopen(handle, "wb") as out,
            urllib.request.urlopen(remote.url, timeout=timeout) as answer,
        ):
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
                if out.tell() > MOST_BYTES:
                    raise UserError(f"{remote.url} has no end; pass --data-dir with {remote.name}")
        if digest.hexdigest() != remote.md5:
            raise UserError(
                f"{remote.url} has md5 {digest.hexdigest()}, expected {remote.md5}; "
                f"pass --data-dir with the original {remote.name}"
            )
        os.replace(temporary, target)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        raise UserError(
            f"cannot download {remote.url}: {one_line(error)}; pass --data-dir with {remote.name}"
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target
