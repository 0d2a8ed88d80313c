"""Lists of SHA-256 digests, in the format of `sha256sum`: `cd RUN && sha256sum -c checkpoints/round_1.sha256`."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from training.files.atomic import digest_of, write_atomically

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def digests_of(root: Path, files: Iterable[Path]) -> dict[str, str]:
    """`{name relative to root, with "/" on every platform: digest}` of files below `root`, in their order."""
    return {path.relative_to(root).as_posix(): digest_of(path) for path in files}


def write_digests(listing: Path, digests: Mapping[str, str]) -> None:
    """Write the list, atomically and for good."""
    lines = [f"{digest}  {name}\n" for name, digest in digests.items()]
    write_atomically(listing, "".join(lines).encode(), lasting=True)


def read_digests(listing: Path) -> dict[str, str]:
    """What `write_digests` wrote; empty where there is no list, and without the lines that are none."""
    if not listing.is_file():
        return {}
    found = (_LINE.fullmatch(line) for line in listing.read_text(encoding="utf-8", errors="replace").splitlines())
    return {match[2]: match[1] for match in found if match}


def is_sound(path: Path, digest: str) -> bool:
    """Is the file there, and as it was when its digest was taken?"""
    return path.is_file() and digest_of(path) == digest


def is_inside(name: str) -> bool:
    """Does a listed name stay below the root of its list?"""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts
