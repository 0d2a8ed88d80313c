"""Label files: any whole number, any depth and sign, and nothing that only looks like ids."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from training.data import prepare
from training.data.classes import IGNORE, LabelSpace, load_label_space
from training.data.images import read_color_label, read_id_image
from training.data.readers import own_id_decoder
from training.data.samples import LabelDecoder
from training.errors import UserError

IDS = np.array([[0, 1], [2, 3]], np.uint8)


def space(tmp_path, raw_ids: str) -> LabelSpace:
    path = tmp_path / "space.json"
    path.write_text(f'{{"name": "two", "names": ["road", "car"], "raw_ids": {raw_ids}}}')
    return load_label_space(path)


def signed_byte_tiff(path: Path, values: list[int]) -> None:
    """One row of 8-bit signed integers, which Pillow cannot write."""
    tags = [
        (256, len(values)),
        (257, 1),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, len(values)),
    ]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (339, 2)]]
    offset = 8 + len(values) + len(values) % 2
    pixels = struct.pack(f"<{len(values)}b", *values).ljust(offset - 8, b"\0")
    path.write_bytes(
        b"II*\0" + struct.pack("<I", offset) + pixels + struct.pack("<H", 10) + b"".join(entries) + bytes(4)
    )


@pytest.mark.parametrize("kind", [np.int32, np.int16])
def test_ids_below_0_are_refused_by_name_not_clipped(tmp_path, kind):
    path = tmp_path / "label.tif"
    values = np.array([[-1, 0], [1, 0]], kind)
    Image.fromarray(values.astype(np.int32)).save(path)
    with pytest.raises(UserError, match=r"label\.tif holds the ids -1, .*known: 0-1, 255"):
        own_id_decoder(space(tmp_path, '{"0": 0, "1": 1}')).read(path)
    decode = own_id_decoder(space(tmp_path, '{"0": 0, "1": 1, "-1": 255}'))
    np.testing.assert_array_equal(decode.read(path), [[IGNORE, 0], [1, 0]])


def test_a_signed_byte_is_not_read_as_255(tmp_path):
    signed_byte_tiff(tmp_path / "label.tif", [-1, 0, 1, -128])
    assert read_id_image(tmp_path / "label.tif").tolist() == [[-1, 0, 1, -128]]


@pytest.mark.parametrize(("raw", "kind"), [(65535, np.uint16), (40000, np.uint16), (1_000_000, np.int32)])
def test_any_number_can_be_named(tmp_path, raw, kind):
    path = tmp_path / f"label.{'png' if kind == np.uint16 else 'tif'}"
    Image.fromarray(np.array([[0, raw], [raw, 0]], kind)).save(path)
    with pytest.raises(UserError, match=f"ids {raw}"):
        own_id_decoder(space(tmp_path, '{"0": 0}')).read(path)
    decode = own_id_decoder(space(tmp_path, f'{{"0": 0, "{raw}": 1}}'))
    np.testing.assert_array_equal(decode.read(path), [[0, 1], [1, 0]])


@pytest.mark.parametrize("raw", [2**40, -(2**40)])
def test_a_number_that_no_file_can_hold_is_refused(tmp_path, raw):
    with pytest.raises(UserError, match="whole numbers in the label files"):
        space(tmp_path, f'{{"{raw}": 0}}')


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.int32, np.uint32])
def test_every_type_gives_the_same_train_ids(kind):
    decode = LabelDecoder.from_mapping("ids", {7: 0, 8: 1, 200: IGNORE, -3: 1, 70000: 0})
    raw = np.array([7, 8, 200, 255, 7], kind)
    assert decode.to_train_ids(Path("x"), raw).tolist() == [0, 1, IGNORE, IGNORE, 0]
    with pytest.raises(UserError, match="ids 9"):
        decode.to_train_ids(Path("x"), np.array([7, 9], kind))


def test_255_can_be_a_class(tmp_path):
    decode = own_id_decoder(space(tmp_path, '{"0": 0, "255": 1}'))
    assert decode.to_train_ids(tmp_path, np.array([0, 255], np.uint8)).tolist() == [0, 1]


@pytest.mark.parametrize("form", ["RGB", "RGBA", "LA"])
def test_one_grey_channel_repeated_is_taken(tmp_path, form):
    Image.fromarray(IDS).convert(form).save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_id_image(tmp_path / "label.png"), IDS)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_one_grey_channel_repeated_in_16_bits_is_not_read_as_0(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f"label.{suffix}"), np.dstack([IDS.astype(np.uint16)] * 3))
    np.testing.assert_array_equal(read_id_image(tmp_path / f"label.{suffix}"), IDS)


@pytest.mark.parametrize(("form", "options"), [("JPEG", {}), ("AVIF", {}), ("WEBP", {})])
@pytest.mark.parametrize("read", [read_id_image, read_color_label])
def test_a_lossy_file_cannot_hold_labels(tmp_path, form, options, read):
    Image.fromarray(np.kron(IDS, np.ones((16, 16), np.uint8))).convert("RGB").save(tmp_path / "label.png", form)
    with pytest.raises(UserError, match=rf"label\.png is a {form} file.*a {form} cannot hold labels.*PNG"):
        read(tmp_path / "label.png")


def test_a_lossless_webp_can(tmp_path):
    Image.fromarray(IDS).convert("RGB").save(tmp_path / "label.webp", lossless=True)
    np.testing.assert_array_equal(read_id_image(tmp_path / "label.webp"), IDS)


def test_floating_point_labels_are_called_so(tmp_path):
    Image.fromarray(IDS.astype(np.float32)).save(tmp_path / "label.tif")
    with pytest.raises(UserError, match="floating-point numbers"):
        read_id_image(tmp_path / "label.tif")


def test_big_endian_labels_are_read_right(tmp_path):
    Image.fromarray(np.array([[1, 300]], np.uint16)).save(tmp_path / "label.tif", tiffinfo={})
    big = Image.frombytes("I;16B", (2, 1), np.array([1, 300], ">u2").tobytes())
    big.save(tmp_path / "big.tif")
    assert read_id_image(tmp_path / "big.tif").tolist() == [[1, 300]]


@pytest.mark.parametrize(("case", "raw"), [("labm1", -1), ("lab16", 65535)])
def test_the_advice_can_be_followed(shared_dir, tmp_path, capsys, case, raw):
    """prepare.py names the id; once it is in raw_ids the data set is good."""
    root, own = shared_dir / "cases" / case, tmp_path / "own.json"
    names = '"names": ["road", "building", "sky", "car"]'
    own.write_text(f'{{"name": "four", {names}}}')
    assert prepare.main(["folders", str(root), "--classes", str(own)]) == 1
    said = capsys.readouterr().out
    assert f"not in the label space: ids {raw}" in said
    known = ", ".join(f'"{i}": {i}' for i in range(4))
    own.write_text(f'{{"name": "four", {names}, "raw_ids": {{{known}, "{raw}": 255}}}}')
    assert prepare.main(["folders", str(root), "--classes", str(own)]) == 0
    ignored = [line for line in capsys.readouterr().out.splitlines() if "ignored" in line]
    assert " 0.000 " not in ignored[0]
