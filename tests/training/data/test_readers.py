"""Every published layout is read as its authors write it, and what does not fit is named."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.training.data import published_layouts as layouts
from tests.training.data.published_layouts import save, street_label
from training.data import datasets
from training.data.classes import IGNORE, LABEL_SPACES
from training.data.readers_camvid import CAMVID_CLASSES, original_split
from training.data.samples import check_no_overlap
from training.errors import UserError

CITYSCAPES, SYNTHIA, CROSS_CITY, ROBOTCAR, CAMVID = (
    LABEL_SPACES[name] for name in ("cityscapes19", "synthia16", "cross_city13", "robotcar9", "camvid11")
)


def in_space(label: np.ndarray, space) -> np.ndarray:
    """Cityscapes train ids in the words of `space`, one pixel at a time."""
    table = {**dict(enumerate(space.from_cityscapes)), IGNORE: IGNORE}
    return np.vectorize(table.get)(label).astype(np.uint8)


@pytest.mark.parametrize("space", [CITYSCAPES, CROSS_CITY, CAMVID], ids=lambda space: space.name)
def test_gta5_palette_label_ids_in_any_space(tmp_path, space):
    data = datasets.gta5(layouts.write_gta5(tmp_path), space)
    assert [sample.name for sample in data.samples] == ["00001", "00002", "00003"]
    for index in range(3):
        truth = street_label(index + 1)
        np.testing.assert_array_equal(data.read_label(index), in_space(truth, space))
        np.testing.assert_array_equal(data.read_image(index), layouts.color_coded(truth))


def test_gta5_frames_of_odd_size(tmp_path, capsys):
    layouts.write_gta5(tmp_path, 4, sizes={2: (22, 48)})
    save(tmp_path / "labels/00003.png", np.zeros((20, 40), np.uint8))
    data = datasets.gta5(tmp_path, CITYSCAPES)
    assert [sample.name for sample in data.samples] == ["00001", "00002", "00004"]  # odd size kept, unusable pair not
    assert "1 file (00003)" in data.notes[0]
    assert "1 of 22x48" in data.notes[1]
    assert "GTA5: left out 1 file (00003)" in capsys.readouterr().out


def test_synthia_reads_channel_0_of_16_bit(tmp_path):
    for space in (SYNTHIA, CITYSCAPES):
        data = datasets.synthia(layouts.write_synthia(tmp_path), space)
        for index in range(3):
            np.testing.assert_array_equal(data.read_label(index), in_space(street_label(index), space))


def test_synthia_id_above_255_is_not_wrapped(tmp_path):
    layouts.write_synthia(tmp_path, 1)
    pixels = np.full((*layouts.SIZE, 3), 259, np.uint16)  # 259 - 256 = 3 would be road
    cv2.imwrite(str(tmp_path / "GT/LABELS/0000000.png"), pixels)
    with pytest.raises(UserError, match=r"0000000\.png holds the ids 259"):
        datasets.synthia(tmp_path, SYNTHIA).read_label(0)


def test_cityscapes(tmp_path):
    layouts.write_cityscapes(tmp_path)
    data = datasets.cityscapes(tmp_path, "train", CITYSCAPES)
    assert [sample.name for sample in data.samples] == ["aachen_000000_000000", "bochum_000000_000001"]
    np.testing.assert_array_equal(data.read_label(1), street_label(1))
    with pytest.raises(UserError, match="no split 'training': choose train, val, test"):
        datasets.cityscapes(tmp_path, "training", CITYSCAPES)
    with pytest.raises(UserError, match="val images of Cityscapes"):
        datasets.cityscapes(tmp_path, "val", CITYSCAPES)


def test_cityscapes_with_train_id_labels_alone(tmp_path, capsys):
    layouts.write_cityscapes(tmp_path)
    for path in (tmp_path / "gtFine").rglob("*_labelIds.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"looked for \*_gtFine_labelIds\.png or \*_gtFine_labelTrainIds\.png"):
        datasets.cityscapes(tmp_path, "train", CITYSCAPES)
    for index, city in enumerate(("aachen", "bochum")):
        save(tmp_path / f"gtFine/train/{city}/{city}_000000_{index:06d}_gtFine_labelTrainIds.png", street_label(index))
    data = datasets.cityscapes(tmp_path, "train", CITYSCAPES)
    np.testing.assert_array_equal(data.read_label(1), street_label(1))
    assert "*_gtFine_labelTrainIds.png" in data.notes[0]
    assert data.notes[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("write", "read", "folder", "names"),
    [
        (layouts.write_cross_city, lambda root: datasets.cross_city(root, "Rome", "test", CROSS_CITY), "Labels",
         r"\*_eval\.png"),
        (lambda root: layouts.write_bdd100k(root, older=True), lambda root: datasets.bdd100k(root, "train", CITYSCAPES),
         "seg/labels", r"\*_train_id\.png"),
        (layouts.write_cityscapes, lambda root: datasets.cityscapes(root, "train", CITYSCAPES), "leftImg8bit",
         r"\*_leftImg8bit\.png"),
    ],
)  # fmt: skip
def test_where_nothing_is_found_the_names_are_said_that_were_looked_for(tmp_path, write, read, folder, names):
    write(tmp_path)
    for path in [path for path in tmp_path.rglob("*.*g") if folder in str(path)]:
        path.rename(path.with_name("other" + path.suffix))
    with pytest.raises(UserError, match=f"looked for {names}"):
        read(tmp_path)


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("prefix", ["", "bdd100k"])
def test_bdd100k_both_layouts(tmp_path, older, prefix):
    layouts.write_bdd100k(tmp_path / prefix, older=older)
    data = datasets.bdd100k(tmp_path, "train", CITYSCAPES)
    assert len(data) == 2
    assert data.samples[0].name == "00000000-00"
    np.testing.assert_array_equal(data.read_label(1), street_label(1))


def test_cross_city(tmp_path):
    layouts.write_cross_city(tmp_path, "Rio")
    target = datasets.cross_city(tmp_path, "rio", "train", CROSS_CITY)
    evaluation = datasets.cross_city(tmp_path / "NTHU_Datasets", "Rio", "test", CROSS_CITY)
    assert (len(target), target.labelled, len(evaluation), evaluation.labelled) == (2, False, 1, True)
    np.testing.assert_array_equal(evaluation.read_label(0), in_space(street_label(5), CROSS_CITY))
    with pytest.raises(UserError, match="choose Rome, Rio, Tokyo, Taipei"):
        datasets.cross_city(tmp_path, "Paris", "train", CROSS_CITY)
    with pytest.raises(UserError, match="has no label"):
        target.read_label(0)


def test_robotcar(tmp_path):
    layouts.write_robotcar(tmp_path)
    assert not datasets.robotcar(tmp_path, "train", ROBOTCAR).labelled
    data = datasets.robotcar(tmp_path, "val", ROBOTCAR)
    np.testing.assert_array_equal(data.read_label(0), street_label(4, classes=9))
    with pytest.raises(UserError, match="use --classes robotcar9"):
        datasets.robotcar(tmp_path, "val", CITYSCAPES)


def test_camvid_original_groups_32_colours(tmp_path):
    layouts.write_camvid_original(tmp_path)
    expected = np.repeat([train_id for _, train_id in CAMVID_CLASSES.values()], 2)
    for split, stem in layouts.CAMVID_STEMS.items():
        data = datasets.camvid(tmp_path, split, CAMVID)
        assert [sample.name for sample in data.samples] == [stem]
        assert (data.read_label(0) == expected).all()


def test_camvid_original_unknown_colour(tmp_path):
    layouts.write_camvid_original(tmp_path)
    path = tmp_path / f"LabeledApproved_full/{layouts.CAMVID_STEMS['val']}_L.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0] = (1, 2, 3)
    save(path, pixels)
    with pytest.raises(UserError, match=r"0016E5_07959_L\.png holds the colours #010203"):
        datasets.camvid(tmp_path, "val", CAMVID).read_label(0)


def test_camvid_split_agrees_with_the_published_lists():
    cases = {"0001TP_006690": "train", "0001TP_008520": "train", "0001TP_008550": "test", "0006R0_f03930": "train",
             "0016E5_00390": "train", "0016E5_07959": "val", "0016E5_08159": "val", "0016E5_08640": "train",
             "Seq05VD_f05100": "test"}  # fmt: skip
    assert {stem: original_split(stem) for stem in cases} == cases


@pytest.mark.parametrize("nested", [False, True])
def test_camvid_11_classes(tmp_path, nested):
    layouts.write_camvid_segnet(tmp_path)
    if nested:
        for split in layouts.CAMVID_STEMS:
            (tmp_path / split).rename(tmp_path / "moved")
            (tmp_path / split).mkdir()
            (tmp_path / "moved").rename(tmp_path / split / "images")
            (tmp_path / f"{split}annot").rename(tmp_path / split / "labels")
    data = datasets.camvid(tmp_path, "val", CAMVID)
    np.testing.assert_array_equal(data.read_label(0), street_label(1, classes=11))  # 11 in the file is void
    with pytest.raises(UserError, match="use --classes camvid11"):
        datasets.camvid(tmp_path, "val", CITYSCAPES)


def test_camvid_photos_for_development(shared_dir):
    data = datasets.camvid(shared_dir / "data/camvid", "val", CAMVID)
    assert len(data) == 101
    label = data.read_label(0)
    assert label.shape == data.read_image(0).shape[:2] == (360, 480)
    assert set(np.unique(label)) <= {*range(11), IGNORE}
    check_no_overlap(datasets.image_folder(shared_dir / "data/camvid/train/images", CAMVID), data)


def test_folders_match_stems_across_subfolders(tmp_path):
    label = street_label(0, classes=11)
    save(tmp_path / "images/day/a.jpg", layouts.color_coded(label))
    save(tmp_path / "images/b.png", layouts.color_coded(label))
    save(tmp_path / "labels/a.png", label)
    save(tmp_path / "labels/b.png", label)
    data = datasets.folders(tmp_path, CAMVID)
    assert [(sample.name, sample.label.name) for sample in data.samples] == [("a", "a.png"), ("b", "b.png")]


def test_folders_match_paths_where_stems_repeat(tmp_path):
    for index, part in enumerate(("day", "night")):
        save(tmp_path / f"images/{part}/a.png", np.full((4, 4, 3), index, np.uint8))
        save(tmp_path / f"labels/{part}/a.png", np.full((4, 4), index, np.uint8))
    data = datasets.folders(tmp_path, CITYSCAPES)
    assert [sample.name for sample in data.samples] == ["day_a", "night_a"]
    for index in range(2):
        assert (data.read_image(index) == index).all()
        assert (data.read_label(index) == index).all()


def test_image_folder_takes_all_formats_with_unique_names(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    for name in ("a.jpg", "a.png", "deep/er/a.bmp", "b.webp", "c.TIF", "d.jpeg"):
        save(tmp_path / name, pixels)
    (tmp_path / "notes.txt").write_text("not a picture")
    save(tmp_path / ".thumbnails/a.png", pixels)
    data = datasets.image_folder(tmp_path, CAMVID)
    names = [sample.name for sample in data.samples]
    assert len(data) == len(set(names)) == 6
    assert "deep_er_a_bmp" in names
    assert not data.labelled


def test_streetsim_takes_the_first_frames(tmp_path):
    layouts.write_folders(tmp_path, 4)
    data = datasets.streetsim(tmp_path, 3, CAMVID)
    assert [sample.name for sample in data.samples] == ["000", "001", "002"]
    np.testing.assert_array_equal(data.read_label(2), in_space(street_label(2), CAMVID))
    with pytest.raises(UserError, match="holds 4 rendered streets where 5 are needed"):
        datasets.streetsim(tmp_path, 5, CAMVID)


READERS = {
    "gta5": (layouts.write_gta5, datasets.gta5, CITYSCAPES, "images", "labels"),
    "synthia": (layouts.write_synthia, datasets.synthia, SYNTHIA, "RGB", "GT/LABELS"),
    "folders": (layouts.write_folders, datasets.folders, CITYSCAPES, "images", "labels"),
    "bdd100k": (
        layouts.write_bdd100k,
        lambda root, space: datasets.bdd100k(root, "train", space),
        CITYSCAPES,
        "images/10k/train",
        "labels/sem_seg/masks/train",
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_missing_partner_is_named_and_counted(tmp_path, name):
    write, read, space, images, labels = READERS[name]
    write(tmp_path)
    first_image, *_ = sorted((tmp_path / images).iterdir())
    *_, last_label = sorted((tmp_path / labels).iterdir())
    content = first_image.read_bytes()
    first_image.unlink()
    with pytest.raises(UserError, match=rf"1 file \({first_image.stem}\.png\) in .* without an image"):
        read(tmp_path, space)
    first_image.write_bytes(content)
    last_label.unlink()
    with pytest.raises(UserError, match=rf"1 file \({last_label.stem}\.(png|jpg)\) in .* without a label"):
        read(tmp_path, space)


@pytest.mark.parametrize("name", READERS)
def test_missing_and_empty_folders(tmp_path, name):
    write, read, space, images, labels = READERS[name]
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "nowhere", space)
    write(tmp_path)
    (tmp_path / labels).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="labels"):
        read(tmp_path, space)
    for file in (tmp_path / images).iterdir():
        file.unlink()
    (tmp_path / "elsewhere").rename(tmp_path / labels)
    with pytest.raises(UserError, match="no images"):
        read(tmp_path, space)


def test_target_needs_no_labels(tmp_path):
    layouts.write_cityscapes(tmp_path)
    assert datasets.cityscapes(tmp_path, "train", CITYSCAPES, labelled=None).labelled
    assert not datasets.cityscapes(tmp_path, "train", CITYSCAPES, labelled=False).labelled
    (tmp_path / "gtFine").rename(tmp_path / "elsewhere")
    assert not datasets.cityscapes(tmp_path, "train", CITYSCAPES, labelled=None).labelled
    with pytest.raises(UserError, match="expected the folder gtFine/train/"):
        datasets.cityscapes(tmp_path, "train", CITYSCAPES)


def test_wrong_size_pair_is_named(tmp_path):
    layouts.write_folders(tmp_path)
    save(tmp_path / "labels/001.png", np.zeros((10, 20), np.uint8))
    with pytest.raises(UserError, match=r"001\.png is 24x48 .*001\.png is 10x20: both must have the same size"):
        datasets.folders(tmp_path, CITYSCAPES)


def test_ids_outside_the_space_are_named(tmp_path):
    layouts.write_folders(tmp_path, classes=19)
    data = datasets.folders(tmp_path, CAMVID)
    with pytest.raises(UserError, match=r"labels/000\.png holds the ids 1[2-8].*known: 0-11, 255"):
        data.read_label(0)


def test_two_files_with_one_stem_are_not_mixed_up(tmp_path):
    layouts.write_gta5(tmp_path)
    save(tmp_path / "images/00001.jpg", np.zeros((24, 48, 3), np.uint8))
    with pytest.raises(UserError, match=r"1 file \(00001\.png\) .* another file has too"):
        datasets.gta5(tmp_path, CITYSCAPES)


def test_space_without_cityscapes_classes(tmp_path):
    from dataclasses import replace

    space = replace(CITYSCAPES, name="mine", from_cityscapes=(IGNORE,) * 19)
    with pytest.raises(UserError, match='add "from_cityscapes"'):
        datasets.gta5(layouts.write_gta5(tmp_path), space)


def test_overlap_of_target_and_evaluation(tmp_path):
    layouts.write_folders(tmp_path / "evaluation", 3)
    layouts.write_folders(tmp_path / "target", 2)  # copies of the first two under the same names
    save(tmp_path / "other/000.png", np.zeros((24, 48, 3), np.uint8))  # same name, another picture
    evaluation = datasets.folders(tmp_path / "evaluation", CITYSCAPES)
    with pytest.raises(UserError, match=r"3 files \(000\.png, 001\.png, 002\.png\)"):
        check_no_overlap(datasets.image_folder(tmp_path / "evaluation/images", CITYSCAPES), evaluation)
    with pytest.raises(UserError, match=r"2 files \(000\.png, 001\.png\)"):
        check_no_overlap(datasets.image_folder(tmp_path / "target/images", CITYSCAPES), evaluation)
    check_no_overlap(datasets.image_folder(tmp_path / "other", CITYSCAPES), evaluation)


def test_overlap_through_a_link(tmp_path):
    layouts.write_folders(tmp_path / "evaluation", 1)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/renamed.png").symlink_to(tmp_path / "evaluation/images/000.png")
    with pytest.raises(UserError, match=r"renamed\.png"):
        check_no_overlap(
            datasets.image_folder(tmp_path / "target", CITYSCAPES),
            datasets.folders(tmp_path / "evaluation", CITYSCAPES),
        )


def test_pseudo_label_folder(tmp_path):
    data = datasets.image_folder(layouts.write_folders(tmp_path, 2) / "images", CAMVID)
    small = np.array([[0, 10], [IGNORE, 3]], np.uint8)
    for name in ("000", "001"):
        save(tmp_path / f"pseudo/{name}.png", small)
    labelled = data.with_label_folder(tmp_path / "pseudo")
    np.testing.assert_array_equal(labelled.read_pair(0)[1], small)  # smaller than the image: allowed here
    save(tmp_path / "pseudo/000.png", np.full((2, 2), 11, np.uint8))  # 11 is void in raw files, unknown as train id
    with pytest.raises(UserError, match="holds the ids 11"):
        labelled.read_label(0)
    (tmp_path / "pseudo/001.png").unlink()
    with pytest.raises(UserError, match=r"1 file \(001\.png\) missing"):
        data.with_label_folder(tmp_path / "pseudo")
