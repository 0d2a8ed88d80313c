"""Images that others have translated: found by the names of the source's, with the source's labels."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.data import published_layouts as layouts
from training.data import datasets
from training.data.classes import LABEL_SPACES
from training.data.input_pipeline import SampleAugmentation, TrainingStream
from training.data.sampling import RareClasses
from training.data.translated_images import OriginalOrTranslated, TranslatedFolder, own_samples, translated_samples
from training.errors import UserError

SPACE = LABEL_SPACES["cityscapes19"]
SIZE = (24, 48)
STILL = SampleAugmentation(SIZE, flip=0.0)


def grey(level: int, size=(12, 20)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


@pytest.fixture
def source(tmp_path):
    """Images 00001.png to 00003.png with labels."""
    return datasets.gta5(layouts.write_gta5(tmp_path / "gta5"), SPACE)


def write_translated(root: Path, names=("00001.png", "sub/00002.jpg", "00003.PNG", "00009.png")) -> Path:
    """Grey images of another size, one that the source lacks among them."""
    for number, name in enumerate(names):
        layouts.save(root / name, grey(50 * (number + 1)))
    return root


def stream(source, **options) -> TrainingStream:
    return TrainingStream(source, SIZE, STILL, batch_size=3, steps=20, seed=1, **options)


def rows(of: TrainingStream) -> list[tuple]:
    """(index, image, label) of each row."""
    batches = [{key: value.numpy() for key, value in batch.items()} for batch in of.batches()]
    return [row for each in batches for row in zip(each["index"], each["image"], each["label"], strict=True)]


def test_images_of_other_suffix_size_and_folder_take_the_place_of_the_sources(source, tmp_path):
    translation = TranslatedFolder.of(source, write_translated(tmp_path / "translated"), alongside=False)
    found, plain = rows(translation.applied_to(stream(source))), rows(stream(source))
    for (index, image, label), (_, _, expected) in zip(found, plain, strict=True):
        assert np.abs(image - 50 * (index + 1)).max() <= 2  # one is a JPEG
        np.testing.assert_array_equal(label, expected)


def test_alongside_half_of_the_batches_show_the_originals(source, tmp_path):
    translation = TranslatedFolder.of(source, write_translated(tmp_path / "translated"), alongside=True)
    translated = translation.applied_to(stream(source))
    found, plain, seen = rows(translated), rows(stream(source)), set()
    for (index, image, label), (original, plain_image, expected) in zip(found, plain, strict=True):
        assert index % 3 == original
        np.testing.assert_array_equal(label, expected)
        if index == original:
            np.testing.assert_array_equal(image, plain_image)
        else:
            assert np.abs(image - 50 * (original + 1)).max() <= 2
        seen.add(int(index))
    assert seen == set(range(6))
    originals = np.reshape([index < 3 for index, _, _ in found], (-1, 3))
    assert (originals == originals[:, :1]).all()  # no batch of both
    order = translated.order
    np.testing.assert_array_equal(order.indices(7, 31, 1), order.indices(0, 60, 1)[7:31])
    assert 18 < sum(index < 3 for index, _, _ in found) < 42
    tail = [batch["image"].numpy() for batch in translated.batches(first_step=18)]
    np.testing.assert_array_equal(np.concatenate(tail), [image for _, image, _ in found[54:]])


def test_an_order_keeps_its_classes_and_its_number_of_samples():
    order = RareClasses.from_counts(np.array([[9, 0], [5, 5], [0, 9]]), temperature=1.0)
    both = OriginalOrTranslated(order, 3)
    np.testing.assert_array_equal(both.indices(0, 50, 2) % 3, order.indices(0, 50, 2))
    np.testing.assert_array_equal(both.indices(7, 50, 2), both.indices(0, 50, 2)[7:])
    np.testing.assert_array_equal(both.classes(0, 50, 2), order.classes(0, 50, 2))
    both.check(6)
    with pytest.raises(IndexError, match="twice 3 images does not fit a data set of 3"):
        both.check(3)


def test_where_stems_repeat_the_folders_below_count(tmp_path):
    for city in ("a", "b"):
        layouts.save(tmp_path / f"source/images/{city}/1.png", grey(9))
        layouts.save(tmp_path / f"source/labels/{city}/1.png", np.zeros((12, 20), np.uint8))
        layouts.save(tmp_path / f"translated/{city}/1.jpg", grey(9))
    source = datasets.folders(tmp_path / "source", SPACE)
    found = [sample.image for sample in translated_samples(source, tmp_path / "translated")]
    assert found == [tmp_path / "translated/a/1.jpg", tmp_path / "translated/b/1.jpg"]


def test_missing_images_are_counted_and_named(source, tmp_path):
    root = write_translated(tmp_path / "translated", names=("00002.jpg", "other.png"))
    with pytest.raises(UserError, match=r"2 files \(00001\.png, 00003\.png\) of the 3 of the source 'gta5' without"):
        TranslatedFolder.of(source, root, alongside=False)
    with pytest.raises(UserError, match="does not exist: expected the folder of the translated images"):
        TranslatedFolder.of(source, tmp_path / "nowhere", alongside=False)


@pytest.mark.parametrize(("size", "stretched"), [((24, 48), False), ((25, 50), False), ((12, 24), False),
                                                 ((49, 100), False), ((24, 40), True), ((24, 24), True)])  # fmt: skip
def test_images_of_other_proportions_are_told_of_once(source, tmp_path, capsys, size, stretched):
    for sample in source.samples:
        layouts.save(sample.image, grey(9, (24, 48)))
        layouts.save(tmp_path / "translated" / sample.image.name, grey(9, size))
    for _ in range(2):
        TranslatedFolder.of(source, tmp_path / "translated", alongside=False)
    said = capsys.readouterr().out
    shape = f"(00001.png is {size[0]}x{size[1]}, its original 24x48): they are stretched to the labels"
    assert said.count(shape) == stretched
    assert bool(said) == stretched


def test_what_a_run_has_made_itself_is_found_by_the_names_of_the_samples(source, tmp_path):
    names = [f"{sample.name}.png" for sample in source.samples]
    root = write_translated(tmp_path / "own", names)
    assert [sample.image for sample in own_samples(source, root)] == [root / name for name in names]
    (root / names[1]).unlink()
    with pytest.raises(UserError, match=rf"1 file \({names[1]}\) missing in .*own: --resume the run"):
        own_samples(source, root)


def test_two_images_of_one_name_are_refused(source, tmp_path):
    root = write_translated(tmp_path / "translated", names=("00001.png", "00001.jpg", "00002.png", "00003.png"))
    with pytest.raises(UserError, match="keep one of each"):
        TranslatedFolder.of(source, root, alongside=False)


def test_examples_are_pairs(source, tmp_path):
    translation = TranslatedFolder.of(source, write_translated(tmp_path / "translated"), alongside=True)
    first, pair = stream(source).order.indices(0, 1, 1)[0], next(translation.examples(stream(source)))
    assert len(pair) == len(translation.titles)
    np.testing.assert_array_equal(pair[0], source.read_image(int(first)))
    assert np.abs(pair[1].astype(int) - 50 * (first + 1)).max() <= 2
