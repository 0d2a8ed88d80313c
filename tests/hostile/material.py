"""Hostile material, drawn from a random generator: bytes damaged in every usual way, JSON bent at random, bombs."""

import copy
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

DEEP_JSON = "[" * 1_000_000 + "]" * 1_000_000
HUGE_NUMBER = 10**300
ODD_NAMES = (
    "-rf.png", "--help.png", "a b.png", "a\nb.png", "a\tb.png", "\x1b[31mred.png", "ü.png", "u\u0308.png", "猫.png",
    "[/bold].png", "[red]x.png", "$HOME.png", "%s.png", "{0}.png", "a'b\".png", "c" * 251 + ".png", "a;b.png",
    "..a.png", "a..png", "\\x.png", "CON.png", "a.PNG", "b.png.png", "*.png", "<b>.png", "|x.png",
    "a:streetshift>>.png",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 255, 256, 2**31, 2**63, 2**70, HUGE_NUMBER, -HUGE_NUMBER, 0.5, -0.0, 1e308, 1e-308,
    float("nan"), float("inf"), float("-inf"), "", "x", "x" * 70_000, "\ud800", "\x00", "a\nb", "../../etc/passwd",
    "/dev/zero", "nan", "1e999", "[/bold]", "$\\frac{", [], [[]], {}, {"": None}, [None], [1, 2], [1, 2, 3], [0] * 300,
    {"0": 0}, ["a", "a"], [["a"]], [float("nan")] * 3, {"a": {"b": {"c": []}}},
)  # fmt: skip


def draw(random: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options; `random.choice` would make an array of them."""
    return options[int(random.integers(len(options)))]


def damaged(random: np.random.Generator, content: bytes) -> bytes:
    """`content` cut, with bits, bytes, numbers or blocks changed, put in or left out, doubled, or something else."""
    place, changed = int(random.integers(len(content) + 1)), bytearray(content)
    flips, first = random.integers(0, len(content), 5), int(random.integers(min(64, len(content))))
    number = struct.pack(">I", int(draw(random, (0, 1, 2**31 - 1, 2**31, 2**32 - 1))))
    for at in flips:
        changed[at] ^= 1 << int(random.integers(8))
    others = (b"", b"\0", b"<html>Not Found</html>", b"PK\x03\x04", b"\x93NUMPY", content[::-1])
    ways = (
        content[:place],
        bytes(changed),
        content[:first] + random.bytes(1) + content[first + 1 :],
        content[:place] + number + content[place + 4 :],
        content[:place] + random.bytes(100) + content[place:],
        content[:place] + content[place + int(random.integers(1, 50)) :],
        content + content,
        content[:place] + bytes(40) + content[place + 40 :],
        draw(random, others),
    )
    return draw(random, ways)


def bent(random: np.random.Generator, value: Any) -> Any:
    """A JSON value in which one to three places were replaced, left out, doubled or added."""
    value = json.loads(json.dumps(value))
    for _ in range(int(random.integers(1, 4))):
        value = _bent_once(random, value)
    return value


def _bent_once(random: np.random.Generator, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or random.random() < 0.15:
        return odd_value(random)
    key = list(value)[int(random.integers(len(value)))] if isinstance(value, dict) else int(random.integers(len(value)))
    way = random.random()
    if way < 0.15:
        del value[key]
    elif way < 0.25 and isinstance(value, dict):
        value[str(odd_value(random))[:50]] = odd_value(random)
    elif way < 0.25:
        value.append(value[key])
    else:
        value[key] = _bent_once(random, value[key])
    return value


def odd_value(random: np.random.Generator) -> Any:
    return copy.deepcopy(draw(random, ODD_VALUES))


def bent_json(random: np.random.Generator, value: Any) -> bytes:
    """JSON text of a bent value, or text that is damaged or no JSON of a sane size at all."""
    way = random.random()
    if way < 0.1:
        return damaged(random, json.dumps(value).encode())
    if way < 0.13:
        return DEEP_JSON.encode()
    if way < 0.16:
        return b'{"a": ' * 100_000
    if way < 0.19:
        return b"\xff\xfe" + json.dumps(value).encode("utf-16")
    if way < 0.22:
        return b'{"version": ' + b"9" * 10_000 + b"}"
    return json.dumps(bent(random, value)).encode()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_claiming(height: int, width: int, depth: int = 8, kind: int = 2, pixels: bytes = b"") -> bytes:
    """A PNG of a few bytes whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(pixels)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_bomb(side: int) -> bytes:
    """A complete grey picture of `side` x `side` in a small file."""
    compressor, row = zlib.compressobj(9), bytes(side + 1)
    parts = [compressor.compress(row) for _ in range(side)] + [compressor.flush()]
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", b"".join(parts)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def text_bomb() -> bytes:
    """A PNG of one pixel whose comment unpacks to 30 MB."""
    plain = png_claiming(1, 1, kind=0, pixels=b"\0\0")
    return plain[:33] + png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(30_000_000))) + plain[33:]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def npy_header(shape: str, descr: str = "'<f4'", order: str = "False", version: int = 1, padding: int = 0) -> bytes:
    """The header of an .npy file that claims what it likes."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}{' ' * padding}\n".encode("latin1")
    length = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes((version, 0)) + length + text


def npz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
