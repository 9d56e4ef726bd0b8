"""Plain files out of a tar archive in memory.

Python's tarfile follows links, takes the last of two members of one name, and hangs on a negative
size where the interpreter is not of the newest; six files of known names need none of its features.
"""

from collections.abc import Collection
from pathlib import PurePosixPath

from gradmatch_jax.errors import UserError

_BLOCK = 512
_PLAIN = (b"0", b"\0")


def plain_files(archive: bytearray, where: str, names: Collection[str]) -> dict[str, memoryview]:
    """The members called `names`, in whatever folder, as views of `archive`.

    Each member is a header of 512 bytes (name in the first 100, size in octal at 124, checksum at
    148, type at 156) and its content, padded to whole blocks; a header of zeros ends the archive.

    where: what to call the archive in messages

    Raises:
      UserError: if a header is damaged, a member cut, or one of `names` a link or there twice.
    """
    view, found, at = memoryview(archive), {}, 0
    while at + _BLOCK <= len(view) and any(view[at : at + _BLOCK]):
        header = bytes(view[at : at + _BLOCK])
        name = PurePosixPath(header[:100].split(b"\0")[0].decode("latin-1")).name
        size, checksum = _octal(header[124:136]), _octal(header[148:156])
        if checksum != sum(header[:148]) + sum(b" " * 8) + sum(header[156:]) or size is None:
            raise UserError(f"{where} is truncated or damaged at byte {at}; fetch it again")
        start, at = at + _BLOCK, at + _BLOCK + size + -size % _BLOCK
        if start + size > len(view):
            raise UserError(f"{where} is truncated or damaged: it ends in {name!r}; fetch it again")
        if name in names:
            if header[156:157] not in _PLAIN:
                raise UserError(f"{where}: {name} is a link or no plain file; fetch it again")
            if name in found:
                raise UserError(f"{where}: {name} is in it twice; fetch it again")
            found[name] = view[start : start + size]
    return found


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and all(d in b"01234567" for d in digits) else None
