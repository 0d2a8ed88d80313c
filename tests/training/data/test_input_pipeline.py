"""Streams depend on seed and position only, resume anywhere, and carry clear errors out of tf.data."""

import gc
import os
import subprocess
import sys
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.data import published_layouts as layouts
from tests.training.data.published_layouts import save
from training.data import datasets
from training.data.classes import IGNORE, LABEL_SPACES
from training.data.images import resize_image
from training.data.input_pipeline import Augmentation, evaluation_stream, raise_unreadable, training_stream
from training.data.samples import Dataset
from training.distribution.shares import Share
from training.errors import UserError

SIZE = (24, 48)
VARIED = Augmentation((16, 32), scale=(0.7, 1.5), jitter=0.5, blur=0.3, noise=0.3, mine=0.5, mine_classes=(3, 4))


@pytest.fixture
def data(tmp_path) -> Dataset:
    return datasets.folders(layouts.write_folders(tmp_path / "data", 5), LABEL_SPACES["cityscapes19"])


def batches(stream: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    return [{key: value.numpy() for key, value in batch.items()} for batch in stream]


def read_all(stream: tf.data.Dataset) -> None:
    """Go through a training stream as a stage does."""
    for _ in stream:
        raise_unreadable()
    raise_unreadable()


def assert_equal(first, second) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_shapes_types_and_number_of_batches(data):
    stream = training_stream(data, SIZE, VARIED, batch_size=3, steps=4, seed=0)
    assert stream.element_spec["image"].shape == (3, 16, 32, 3)
    found = batches(stream)
    assert len(found) == 4
    for batch in found:
        assert (batch["image"].shape, batch["image"].dtype) == ((3, 16, 32, 3), np.float32)
        assert (batch["label"].shape, batch["label"].dtype) == ((3, 16, 32), np.uint8)
        assert (batch["index"].shape, batch["index"].dtype) == ((3,), np.int32)


@pytest.mark.parametrize(("cache", "starts"), [(True, (1, 9)), (False, (4,))])
def test_resumed_stream_equals_the_tail(data, cache, starts):
    whole = batches(training_stream(data, SIZE, VARIED, 2, 9, seed=4, cache=cache))
    for start in starts:
        rest = batches(training_stream(data, SIZE, VARIED, 2, 9, seed=4, start_step=start, cache=cache))
        assert_equal(rest, whole[start:])


def test_processes_and_replicas_make_their_rows_of_the_same_batches(data):
    whole = batches(training_stream(data, SIZE, VARIED, 4, 5, seed=4))
    for process in range(2):
        share = Share(process, processes=2, replicas=2)
        mine = batches(training_stream(data, SIZE, VARIED, 4, 5, seed=4, share=share))
        rows = [{key: value[row : row + 1] for key, value in batch.items()} for batch in whole for row in range(4)]
        assert_equal(mine, [row for number, row in enumerate(rows) if number % 4 // 2 == process])
        late = batches(training_stream(data, SIZE, VARIED, 4, 5, seed=4, start_step=3, share=share))
        assert_equal(late, mine[6:])


def test_seeds_differ_and_epochs_are_not_repeated(data):
    one, other = (batches(training_stream(data, SIZE, VARIED, 5, 2, seed=seed)) for seed in (0, 1))
    assert (one[0]["image"] != other[0]["image"]).any()
    views = {int(i): image for i, image in zip(one[0]["index"], one[0]["image"], strict=True)}
    for index, image in zip(one[1]["index"], one[1]["image"], strict=True):
        assert (views[int(index)] != image).any()  # the same frame, another view


def test_result_does_not_depend_on_parallelism_or_cache(data, monkeypatch):
    expected = batches(training_stream(data, SIZE, VARIED, 2, 8, seed=1, cache=True))
    read_pair = Dataset.read_pair

    def uneven(self, index):
        time.sleep(0.02 if index % 2 else 0.0)
        return read_pair(self, index)

    monkeypatch.setattr(Dataset, "read_pair", uneven)
    for threads in (1, 4):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        stream = training_stream(data, SIZE, VARIED, 2, 8, seed=1, cache=False).with_options(options)
        assert_equal(batches(stream), expected)


def test_each_epoch_holds_every_sample_of_the_subset(data):
    chosen = np.array([4, 1, 2])
    for cache in (True, False):
        stream = training_stream(data, SIZE, Augmentation(SIZE), 3, 4, seed=0, indices=chosen, cache=cache)
        for batch in batches(stream):
            assert sorted(batch["index"].tolist()) == [1, 2, 4]


def test_index_label_and_image_belong_together(data):
    plain = Augmentation(SIZE, flip=0.0)
    for cache in (True, False):
        for batch in batches(training_stream(data, SIZE, plain, 2, 5, seed=0, cache=cache)):
            for image, label, index in zip(batch["image"], batch["label"], batch["index"], strict=True):
                np.testing.assert_array_equal(image, data.read_image(int(index)))
                np.testing.assert_array_equal(label, data.read_label(int(index)))


def test_decoded_frames_live_as_long_as_the_stream_and_no_longer(data, monkeypatch):
    stream = training_stream(data, SIZE, VARIED, 2, 20, seed=0, cache=True)
    frames = weakref.ref(stream.decoded_frames)
    derived = tf.data.Dataset.zip({"source": stream.map(lambda batch: batch["image"])})
    del stream
    monkeypatch.setattr(Dataset, "read_pair", None)  # reading a file again would fail
    iterator = iter(derived)
    del derived
    gc.collect()
    assert sum(1 for _ in iterator) == 20
    del iterator
    gc.collect()
    assert frames() is None


def test_unlabelled_samples_are_all_ignored(data):
    for batch in batches(training_stream(data.without_labels(), SIZE, VARIED, 2, 3, seed=0)):
        assert (batch["label"] == IGNORE).all()


def test_frames_of_any_size_come_at_one_size(tmp_path):
    for index, shape in enumerate(((10, 20), (33, 44), (24, 48))):
        save(tmp_path / f"{index}.png", np.full((*shape, 3), 50 * index, np.uint8))
    data = datasets.image_folder(tmp_path, LABEL_SPACES["cityscapes19"])
    stream = training_stream(data, SIZE, Augmentation(SIZE), 3, 1, seed=0)
    assert next(iter(stream))["image"].shape == (3, *SIZE, 3)


@pytest.mark.parametrize("cache", [True, False])
def test_damaged_label_becomes_one_sentence(data, cache):
    path = data.samples[3].label
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"labels/003\.png is damaged"):
        read_all(training_stream(data, SIZE, VARIED, 2, 6, seed=0, cache=cache))
    raise_unreadable()  # once is enough


def test_wrong_size_pair_found_while_training(data):
    save(data.samples[2].label, np.zeros((3, 3), np.uint8))  # after the reader has looked
    with pytest.raises(UserError, match=r"002\.png is 24x48"):
        batches(training_stream(data, SIZE, VARIED, 2, 6, seed=0))


def test_no_batch_holds_anything_in_the_place_of_a_damaged_file(data):
    data.samples[3].image.write_bytes(b"no picture")
    found = batches(training_stream(data, SIZE, VARIED, 2, 6, seed=0, cache=False))
    assert len(found) < 6
    assert all(index not in (3, -1) for batch in found for index in batch["index"])
    with pytest.raises(UserError, match=r"003\.png is damaged"):
        raise_unreadable()


def test_a_defect_of_the_program_is_no_sentence(data, monkeypatch):
    monkeypatch.setattr(Dataset, "read_image", lambda *_: 1 / 0)
    with pytest.raises(tf.errors.OpError, match="division by zero"):
        batches(evaluation_stream(data, SIZE, 2))


def test_impossible_crop_and_empty_subset(data):
    with pytest.raises(UserError, match="crop 100x48"):
        training_stream(data, SIZE, Augmentation((100, 48)), 2, 6, seed=0)
    with pytest.raises(UserError, match="no image to train on"):
        training_stream(data, SIZE, VARIED, 2, 6, seed=0, indices=np.array([], int))


@pytest.mark.parametrize("size", [None, (12, 24), (40, 60)])
def test_evaluation_stream_is_in_order_and_plain(data, size):
    result = batches(evaluation_stream(data, size, 2))
    assert [batch["index"].tolist() for batch in result] == [[0, 1], [2, 3], [4]]
    for batch in result:
        assert batch["image"].dtype == np.float32
        for image, index in zip(batch["image"], batch["index"], strict=True):
            expected = data.read_image(int(index))
            np.testing.assert_array_equal(image, expected if size is None else resize_image(expected, size))


def test_evaluation_of_mixed_sizes_comes_one_at_a_time(data):
    save(data.samples[1].image, np.zeros((10, 20, 3), np.uint8))
    shapes = [batch["image"].shape[:3] for batch in batches(evaluation_stream(data, None, 4))]
    assert shapes == [(1, 24, 48), (1, 10, 20), (1, 24, 48), (1, 24, 48), (1, 24, 48)]


def test_evaluation_of_a_damaged_image(data):
    data.samples[4].image.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"images/004\.png is damaged"):
        next(iter(evaluation_stream(data, SIZE, 8)))  # not a batch that is too short


PRINTED = """
import sys
from training.distribution.quiet import start_tensorflow
start_tensorflow()
from training.data import datasets
from training.data.classes import LABEL_SPACES
from training.data.input_pipeline import Augmentation, evaluation_stream, raise_unreadable, training_stream
from training.errors import UserError
data = datasets.folders(sys.argv[1], LABEL_SPACES["cityscapes19"])
plain = Augmentation((24, 48))
for stream in (evaluation_stream(data, (24, 48), 2), training_stream(data, (24, 48), plain, 2, 9, 0, cache=False)):
    try:
        for batch in stream:
            pass
        raise_unreadable()
    except UserError as error:
        print(error)
"""


def test_a_damaged_file_prints_nothing(tmp_path):
    """TensorFlow's C++ part logs the traceback of any Python error that it meets, where pytest cannot look."""
    layouts.write_folders(tmp_path, 5)
    image = tmp_path / "images/004.png"
    image.write_bytes(image.read_bytes()[:-40])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    command = [sys.executable, "-c", PRINTED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.count("004.png is damaged") == 2
    assert "Traceback" not in done.stderr
    assert "004.png" not in done.stderr


def test_pseudo_labels_of_another_size_are_enlarged(data, tmp_path):
    for index in range(5):
        save(tmp_path / f"pseudo/{index:03d}.png", np.array([[index, IGNORE]], np.uint8))
    labelled = replace(data, label_space=LABEL_SPACES["cityscapes19"]).with_label_folder(tmp_path / "pseudo")
    batch = batches(training_stream(labelled, SIZE, Augmentation(SIZE, flip=0.0), 5, 1, seed=0))[0]
    for label, index in zip(batch["label"], batch["index"], strict=True):
        assert (label[:, :24] == index).all()
        assert (label[:, 24:] == IGNORE).all()


@pytest.mark.parametrize("strong", [0.0, 0.5, 1.0])
def test_the_weak_view_shares_geometry_and_label_with_the_image(data, strong):
    """The same stream without any change of appearance gives the weak view."""
    plain = replace(VARIED, jitter=0.0, blur=0.0, noise=0.0)
    seen = batches(training_stream(data, SIZE, VARIED, 3, 4, seed=0, strong=strong, weak=True))
    expected = batches(training_stream(data, SIZE, plain, 3, 4, seed=0))
    for one, other in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(one["weak"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"])
    assert any(np.abs(one["image"] - one["weak"]).max() > 10 for one in seen)


def test_a_strong_view_may_go_a_part_of_the_way(data):
    half, whole = (batches(training_stream(data, SIZE, VARIED, 3, 4, 0, strong=s, weak=True)) for s in (0.5, 1.0))
    for one, other in zip(half, whole, strict=True):
        np.testing.assert_allclose(one["image"], (other["image"] + other["weak"]) / 2, atol=1e-4)


def test_frames_are_pasted_into_by_position_before_they_are_varied(data):
    """A paste that writes the position into the label; the tail of a resumed stream sees the same positions."""

    def paste(index, position, frame, load):
        assert load(index).shape == frame.shape == (*SIZE, 4)
        return np.dstack([frame[..., :3], np.full(SIZE, position, np.uint8)])

    still = Augmentation(SIZE, flip=0.0)
    whole = batches(training_stream(data, SIZE, still, 3, 4, seed=0, paste=paste))
    assert [int(label.max()) for batch in whole for label in batch["label"]] == list(range(12))
    assert_equal(batches(training_stream(data, SIZE, still, 3, 4, seed=0, paste=paste, start_step=2)), whole[2:])
