"""Hostile images, labels, label spaces and probabilities. Each function makes one attempt in an empty folder."""

import io
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from app.uploads import Upload, read_photo
from export.pictures import load_picture
from tests.hostile import material, odd_files
from tests.hostile.judging import run_main
from tests.hostile.material import draw
from training import label
from training.data import prepare
from training.data.classes import LABEL_SPACES, load_label_space
from training.data.datasets import folders, image_folder
from training.data.domains import require_labelled_pixels
from training.data.images import image_size, read_first_channel, read_id_image, read_image
from training.data.input_pipeline import load_frame
from training.data.photo_folders import found_photos
from training.data.picture_pixels import turned
from training.data.readers import own_id_decoder
from training.errors import UserError
from training.prediction.label_files import read_fitted

SPACE = LABEL_SPACES["camvid11"]
READERS = (
    read_image, image_size, read_id_image, read_first_channel, load_picture,
    lambda path: read_photo(Upload(path, path.name)),
)  # fmt: skip
OWN_SPACE = {
    "name": "yard",
    "names": ["ground", "crane", "person"],
    "colors": [[90, 90, 90], [250, 170, 30], [220, 20, 60]],
    "raw_ids": {"0": 255, "7": 0, "8": 0, "9": 1, "24": 2},
    "class_sets": {"two": [0, 1]},
    "from_cityscapes": [0] * 10 + [255] * 9,
}
MANIFEST = {
    "kind": "class_balanced", "portion": 0.2, "stride": 4, "compat": None, "images": 1, "thresholds": [0.5, None],
    "pixels": [1, 2], "ranked_pixels": [1, 1], "files": ["000000.png", "../../precious.txt", "precious.txt"],
}  # fmt: skip
SHAPES = (
    "(1000000000, 1, 1, 1)", "(1, 255, 65536, 65536)", "(-1, 4, 5, 6)", "(2, 4, 5, 6)", "(10**9,)", "(True, 4, 5, 6)",
    "(2.0, 4, 5, 6)", "((2,), 4, 5, 6)", "()", "(9999999999999999999999, 4, 5, 6)", "(" * 150,
    "(1, 4, 1000000, 1000000)",
)  # fmt: skip
TYPES = (
    "'<f4'", "'<f2'", "'O'", "'|V4'", "'<f16'", "[('a', '<f4')]", "'<U9'", "{}", "'<M8[s]'", "None", "'<f4' * 9",
)  # fmt: skip
LABEL_OPTIONS = (
    ("--portion", "nan"), ("--stride", "9" * 20), ("--portion", "1e-300"), ("--selector", "ias", "--alpha", "nan"),
    ("--selector", "lrent", "--alpha", "1e308"), ("--selector", "lrent", "--alpha", "1e-300"), ("--selector", "ias"),
    ("--selector", "ias", "--gamma", "inf"), ("--selector", "ias", "--batch-size", "999999999"), ("--selector", "st"),
    ("--selector", "entropy_mixture"), ("--selector", "entropy_mixture", "--scope", "image"),
    ("--selector", "entropy_mixture", "--least-variance", "1e-300"), ("--compat", "mxnet"),
    ("--selector", "lrent", "--alpha", "inf"),
)  # fmt: skip


def pictures(random: np.random.Generator, folder: Path) -> None:
    content, suffix = odd_files.picture_bytes(random)
    if random.random() < 0.06:
        content, suffix = draw(random, odd_files.bombs()), ".png"
    (folder / f"odd{suffix}").write_bytes(content)
    draw(random, READERS)(folder / f"odd{suffix}")


def folders_of_images(random: np.random.Generator, folder: Path) -> None:
    root, way = odd_files.odd_folder(random, folder), random.random()
    if way < 0.4:
        name = draw(random, ("folders", "images"))
        return run_main(prepare.main, [name, str(root), "--classes", "camvid11"], (0, 1, 2))
    dataset = folders(root, SPACE) if way < 0.7 else image_folder(root, SPACE)
    for index in range(len(dataset)):
        load_frame(dataset, index, (16, 24))


def folders_inside_folders(random: np.random.Generator, folder: Path) -> None:
    """Data sets, runs, labels and results in one another: exactly the photos among them are found."""
    root = folder / "photos"
    odd_files.nested_folders(random, root)
    lists = folder / "photos.txt"
    lists.write_text(f"{root}\nphotos\n")
    place = draw(random, (root, lists, folder / "phot*", folder / "*/**"))
    if random.random() < 0.3:
        return run_main(prepare.main, ["images", str(place)], (0, 1, 2))
    found = found_photos(place)
    expected = set(root.rglob("photo*.png"))
    assert {Path(os.path.realpath(path)) for path in found.photos} == {
        Path(os.path.realpath(path)) for path in expected
    }
    assert bool(found.left_out) == any(root.rglob("decoy*.png"))
    for sentence in found.sentences:
        raise UserError(sentence)


def labels(random: np.random.Generator, folder: Path) -> None:
    """Label files of the wrong type, size or ids."""
    for number in range(2):
        odd_files.good_pair(folder, f"p{number}.png", random)
    height, width = draw(random, (odd_files.PAIR_SIZE, (20, 31), (1, 1), (40, 60)))
    colours = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    low, high, kind = draw(random, ((0, 256, np.uint8), (0, 65536, np.uint16), (-5, 5, np.int32), (0, 2, np.float32)))
    single = Image.fromarray(random.integers(low, high, (height, width)).astype(kind))
    image = draw(random, (colours, colours.quantize(200), single, single, single.convert("1")))
    form = "TIFF" if image.mode in ("F", "I") else draw(random, ("PNG", "PNG", "TIFF", "JPEG"))
    content = material.encoded(image.convert("RGB") if form == "JPEG" else image, form)
    damage = material.damaged(random, content) if random.random() < 0.3 else content
    (folder / "labels" / "p0.png").write_bytes(damage)
    dataset = folders(folder, SPACE)
    for index in range(2):
        dataset.read_pair(index)


def signed_labels(random: np.random.Generator, folder: Path) -> None:
    """Ids below 0 and far above 255: each is known by its own number, or refused; none is clipped."""
    known = random.integers(-300, 300, int(random.integers(1, 6))) * int(draw(random, (1, 1, 7_000_000)))
    classes = {int(raw): int(random.integers(3)) for raw in known}
    (folder / "my.json").write_text(json.dumps(OWN_SPACE | {"raw_ids": classes}))
    ids = [*classes, *([255] if random.random() < 0.5 else []), *([-1, -2, 65535] if random.random() < 0.5 else [])]
    pixels = random.choice(ids, odd_files.PAIR_SIZE).astype(np.int32)
    odd_files.good_pair(folder, "p0.png", random)
    Image.fromarray(pixels).save(folder / "labels" / "p0.png", format="TIFF")
    label = folders(folder, load_label_space(folder / "my.json")).read_label(0)
    for raw, train_id in ({255: 255} | classes).items():
        assert (label[pixels == raw] == train_id).all()


def turned_pairs(random: np.random.Generator, folder: Path) -> None:
    """Photos and labels with any EXIF orientation: image and label still fit each other, or the data set is refused."""
    upright = random.random() < 0.5  # the labels were drawn on the turned photos
    for number in range(int(random.integers(1, 4))):
        label = random.integers(0, 4, draw(random, (odd_files.PAIR_SIZE, (24, 24)))).astype(np.uint8)
        marks = draw(random, ((1, 1), (6, 1), (3, 1), (3, 3), (8, 8), (1, 6), (3, 6), (12, 0), (5, 1)))
        drawn = turned(label, marks[0]) if upright and marks[0] != marks[1] and 1 <= marks[0] <= 8 else label
        image, suffix = np.dstack([label * 60] * 3), draw(random, (".png", ".tif", ".webp"))
        for part, pixels, mark, ending in (("images", image, marks[0], suffix), ("labels", drawn, marks[1], ".png")):
            (folder / part).mkdir(exist_ok=True)
            exif = Image.Exif()
            exif[0x0112] = mark
            options = {"lossless": True} if ending == ".webp" else {}
            Image.fromarray(pixels).save(folder / part / f"p{number}{ending}", exif=exif, **options)
    dataset = folders(folder, SPACE)
    for index in range(len(dataset)):
        image, label = dataset.read_pair(index)
        assert (image[:, :, 0] == label * 60).all()


def unlabelled_pixels(random: np.random.Generator, folder: Path) -> None:
    """Labels with nothing but ignored pixels, or with hardly another: refused before a run, or learned from."""
    for number in range(int(random.integers(1, 5))):
        odd_files.good_pair(folder, f"p{number}.png", random)
        label = np.full(odd_files.PAIR_SIZE, draw(random, (255, 255, 11)), np.uint8)  # 11 is void too
        if random.random() < 0.2:
            label[0, 0] = 3
        Image.fromarray(label).save(folder / "labels" / f"p{number}.png")
    if random.random() < 0.5:
        return run_main(prepare.main, ["folders", str(folder), "--classes", "camvid11"], (0, 1, 2))
    dataset = folders(folder, SPACE)
    any_pixel = any((dataset.read_label(index) != 255).any() for index in range(len(dataset)))
    try:
        require_labelled_pixels(dataset, "The data", "")
    except UserError:
        assert not any_pixel
        raise
    assert any_pixel


def label_spaces(random: np.random.Generator, folder: Path) -> None:
    path = folder / "my.json"
    if random.random() < 0.1:
        draw(random, odd_files.NO_FILES)(path)
    else:
        path.write_bytes(material.bent_json(random, OWN_SPACE))
    space = load_label_space(path)
    assert space.count == len(space.names) == len(space.colors)
    space.colorize(np.zeros((2, 2), np.uint8))
    raw = np.array([list(space.raw_ids or {0: 0})], np.int64)
    assert own_id_decoder(space).to_train_ids(path, raw).shape == raw.shape
    assert "|".join((space.name, *space.names, *space.class_sets)).isprintable()


def odd_array(random: np.random.Generator, rank: int) -> bytes:
    """.npy data whose header claims anything."""
    order, version = draw(random, ("False", "True", "0", "None", "[]")), int(random.integers(1, 4))
    shape = draw(random, SHAPES).replace("(2, 4" if rank == 3 else "", "(4" if rank == 3 else "")
    header = material.npy_header(shape, draw(random, TYPES), order, version, draw(random, (0, 50, 9000, 60_000)))
    return header + draw(random, (b"", bytes(960), bytes(100_000)))


def probabilities(random: np.random.Generator, folder: Path) -> None:
    maps = random.dirichlet(np.ones(4), (2, 5, 6)).astype(draw(random, ("<f4", ">f4", "<f2", "<f8")))
    if random.random() < 0.4:
        maps.reshape(-1)[int(random.integers(maps.size))] = draw(random, (np.nan, np.inf, -1, 1e30, -np.inf, 6e4))
    write = draw(random, (_archive, _archive, _folder_of_maps, _no_archive, _with_prior))
    path, *options = write(random, folder, maps)
    more = draw(random, LABEL_OPTIONS) if random.random() < 0.3 else ()
    run_main(label.main, ["--probs", str(path), "--out", str(folder / "out"), *options, *more])


def _archive(random: np.random.Generator, folder: Path, maps: np.ndarray) -> list:
    content = odd_files.saved_arrays(probs=np.ascontiguousarray(np.moveaxis(maps, -1, 1)))
    way = random.random()
    content = material.npz({"probs.npy": odd_array(random, 4)}) if way < 0.4 else content
    content = material.damaged(random, content) if way > 0.7 else content
    (folder / "probs.npz").write_bytes(content)
    return [folder / "probs.npz"]


def _folder_of_maps(random: np.random.Generator, folder: Path, maps: np.ndarray) -> list:
    root = folder / "maps"
    for name in draw(random, (("a", "b"), ("a__b", "a/b"), ("a\nb",), ("x" * 250,), ("-a", "[/b]"))):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / f"{name}.npy", maps[0])
    way, odd = random.random(), root / "odd.npy"
    if way < 0.3:
        odd.write_bytes(odd_array(random, 3))
    elif way < 0.6:
        np.save(odd, maps[1])
        odd.write_bytes(material.damaged(random, odd.read_bytes()))
    elif way < 0.9:
        draw(random, odd_files.ODD_THINGS)(odd)
    return [root]


def _no_archive(random: np.random.Generator, folder: Path, maps: np.ndarray) -> list:
    draw(random, odd_files.NO_FILES)(folder / "probs.npz")
    return [folder / "probs.npz"]


def _with_prior(random: np.random.Generator, folder: Path, maps: np.ndarray) -> list:
    np.savez(folder / "probs.npz", probs=np.moveaxis(maps, -1, 1))
    prior, buffer = folder / draw(random, ("prior.npy", "prior.npz")), io.BytesIO()
    np.save(buffer, np.full((5, 6, 4), draw(random, (1, 0, np.nan, 1e38, -1)), np.float32))
    content = draw(random, (buffer.getvalue(), odd_array(random, 3), material.damaged(random, buffer.getvalue())))
    if random.random() < 0.2:
        draw(random, odd_files.NO_FILES)(prior)
    else:
        prior.write_bytes(material.npz({"prior.npy": content}) if prior.suffix == ".npz" else content)
    return [folder / "probs.npz", "--prior", str(prior), "--selector", "cbst_sp"]


def label_folders(random: np.random.Generator, folder: Path) -> None:
    """A folder for labels with a strange manifest or strange files in it; what is not a label of ours stays."""
    out, precious = folder / "out", folder / "precious.txt"
    out.mkdir()
    precious.write_text("precious")
    np.savez(folder / "probs.npz", probs=np.full((1, 4, 5, 6), 0.25, np.float32))
    if random.random() < 0.2:
        draw(random, odd_files.ODD_THINGS)(out / "manifest.json")
    else:
        (out / "manifest.json").write_bytes(material.bent_json(random, MANIFEST))
    if random.random() < 0.4:
        draw(random, odd_files.ODD_THINGS)(out / "000000.png")
    if random.random() < 0.3:
        (out / ".000000.png.partial").symlink_to(precious)
    try:
        if random.random() < 0.5:
            fitted = read_fitted(out)
            assert fitted.label(np.full((4, 5, fitted.classes), 0.25, np.float32)).shape == (4, 5)
        else:
            run_main(label.main, ["--probs", str(folder / "probs.npz"), "--out", str(out)])
    finally:
        assert precious.read_text() == "precious"
