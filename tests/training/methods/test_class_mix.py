"""ClassMix: which classes are pasted, that one mask mixes everything, and that the rows of a batch are independent."""

import numpy as np
import pytest
import tensorflow as tf

from training.methods.class_mix import COLOURS, MASKED_COLOURS, ClassMixer, shown_ids
from training.settings.sampling import ClassMix

UNCHANGED = ClassMix(jitter_probability=0.0, blur_probability=0.0)


def labels_of(*rows: list[int]) -> np.ndarray:
    """Labels uint8 [rows, 4, 8] whose pixels show the ids of each row in turn."""
    return np.stack([np.resize(np.array(row, np.uint8), (4, 8)) for row in rows])


def positions(*numbers: int):
    return tf.constant(numbers, tf.int64)


def chosen_ids(mixer: ClassMixer, label: np.ndarray, place) -> list[set[int]]:
    mask = mixer.mask(tf.constant(label), place).numpy()
    return [set(row[chosen].tolist()) for row, chosen in zip(label, mask, strict=True)]


@pytest.mark.parametrize("ids", [[3], [0, 7], [0, 5, 9], [1, 2, 3, 4], list(range(7)), [*range(19)]])
def test_half_of_the_shown_classes_rounded_up_are_pasted_whole(ids):
    label = labels_of([*ids, 254, 255])
    for seed in range(5):
        mask = ClassMixer(ClassMix(), seed).mask(tf.constant(label), positions(seed)).numpy()
        chosen = set(label[mask].tolist())
        assert len(chosen) == -(-len(ids) // 2)
        np.testing.assert_array_equal(mask, np.isin(label, list(chosen)))
        assert chosen <= set(ids)


@pytest.mark.parametrize(("share", "count"), [(0.2, 1), (0.6, 3), (0.61, 4), (1.0, 5), (0.01, 1)])
def test_another_share_is_rounded_up_but_not_by_the_rounding_of_float32(share, count):
    (chosen,) = chosen_ids(ClassMixer(ClassMix(share=share), 0), labels_of([0, 1, 2, 3, 4]), positions(9))
    assert len(chosen) == count


def test_nothing_is_pasted_of_an_image_without_a_label():
    label = np.array([[[254, 255]], [[255, 255]], [[254, 3]]], np.uint8)
    mask = ClassMixer(ClassMix(share=1.0), 0).mask(tf.constant(label), positions(0, 1, 2)).numpy()
    np.testing.assert_array_equal(mask, [[[False, False]], [[False, False]], [[False, True]]])


def test_the_classes_of_an_image_depend_on_seed_position_and_its_own_label_alone():
    label, mixer = labels_of(list(range(10)), list(range(10)), [50, 60, 70]), ClassMixer(ClassMix(), 4)
    together = chosen_ids(mixer, label, positions(11, 12, 13))
    for row, place in enumerate((11, 12, 13)):
        assert chosen_ids(mixer, label[row : row + 1], positions(place)) == [together[row]]
    assert together[0] != together[1]
    assert chosen_ids(ClassMixer(ClassMix(), 5), label, positions(11, 12, 13)) != together
    drawn = [chosen_ids(mixer, label[:1], positions(place))[0] for place in range(40)]
    assert set.union(*drawn) == set(range(10))
    assert not set.intersection(*drawn)


def test_the_shown_ids_of_each_image():
    shown = shown_ids(tf.constant(labels_of([0, 253], [254, 255]))).numpy()
    assert shown.shape == (2, 254)
    assert [np.flatnonzero(row).tolist() for row in shown] == [[0, 253], []]


def image_of(count: int, height: int = 16, width: int = 32):
    return tf.constant(np.random.default_rng(0).uniform(0, 255, (count, height, width, 3)).astype(np.float32))


def test_colours_change_by_seed_position_and_stream_alone_and_stay_colours():
    image, mixer = image_of(1), ClassMixer(ClassMix(jitter_probability=1.0, blur_probability=1.0), 0)
    image = tf.repeat(image, 3, axis=0)
    changed = mixer.recoloured(image, positions(3, 4, 3)).numpy()
    assert changed.shape == image.shape
    assert changed.min() >= 0
    assert changed.max() <= 255
    np.testing.assert_array_equal(changed[0], changed[2])
    assert np.abs(changed[0] - changed[1]).max() > 1
    assert np.abs(changed[0] - image[0]).max() > 1
    other = mixer.recoloured(image[:1], positions(3), MASKED_COLOURS).numpy()
    assert np.abs(other[0] - changed[0]).max() > 1
    np.testing.assert_array_equal(mixer.recoloured(image[:1], positions(3), COLOURS).numpy()[0], changed[0])


def test_colours_change_as_often_as_asked():
    def share_changed(settings):
        place = tf.range(150, dtype=tf.int64)
        recoloured = tf.function(ClassMixer(settings, 0).recoloured)
        changed = recoloured(tf.repeat(image_of(1, 8, 8), 150, axis=0), place)
        return float(tf.reduce_mean(tf.cast(tf.reduce_any(changed != image_of(1, 8, 8), axis=(1, 2, 3)), tf.float32)))

    assert share_changed(UNCHANGED) == 0.0
    assert share_changed(ClassMix(blur_probability=0.0)) == pytest.approx(0.8, abs=0.08)
    assert share_changed(ClassMix(jitter_probability=0.0)) == pytest.approx(0.5, abs=0.1)


def round_batch(weak: bool = True) -> dict:
    random = np.random.default_rng(1)

    def images():
        return tf.constant(random.uniform(0, 255, (3, 8, 16, 3)).astype(np.float32))

    source = {"image": images(), "label": tf.constant(random.integers(0, 6, (3, 8, 16)), tf.uint8)}
    target = {"image": images(), "label": tf.constant(random.choice([0, 1, 254, 255], (3, 8, 16)), tf.uint8)}
    target = {**target, "weak": images()} if weak else target
    return {
        name: {**domain, "position": positions(5, 6, 7)} for name, domain in (("source", source), ("target", target))
    }


def test_in_a_round_views_and_label_are_pasted_by_one_mask():
    batch, mixer = round_batch(), ClassMixer(UNCHANGED, 2, target_weight=0.25)
    pasted = mixer.pasted(batch)
    source, target, mixed = batch["source"], batch["target"], pasted["target"]
    mask = mixer.mask(source["label"], source["position"]).numpy()
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(mixed["pasted"], mask)
    for name in ("image", "weak"):
        np.testing.assert_array_equal(mixed[name], np.where(mask[..., None], source["image"], target[name]))
    np.testing.assert_array_equal(mixed["label"], np.where(mask, source["label"], target["label"]))
    np.testing.assert_array_equal(mixed["weight"], np.where(mask, 1.0, 0.25))
    assert pasted["source"] is source


def test_in_a_round_the_weak_view_keeps_its_colours():
    batch = round_batch()
    plain = ClassMixer(UNCHANGED, 2).pasted(batch)["target"]
    coloured = ClassMixer(ClassMix(jitter_probability=1.0), 2).pasted(batch)["target"]
    np.testing.assert_array_equal(plain["weak"], coloured["weak"])
    assert np.abs(plain["image"] - coloured["image"]).max() > 1
    assert "weak" not in ClassMixer(UNCHANGED, 2).pasted(round_batch(weak=False))["target"]
