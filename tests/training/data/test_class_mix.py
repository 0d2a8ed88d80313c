"""ClassMix between domains: whose pixels go where, and that nothing but the drawn classes moves."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.class_mix import class_mixed, pasted_classes

CLASSES = 11
FIRST = tf.constant([0, 1], tf.int64)


def pair(seed: int = 0, size=(2, 6, 8)) -> tuple[dict, dict]:
    """A source of 1s and a target of 2s with random labels, some of them ignored."""
    random = np.random.default_rng(seed)
    labels = random.choice([*range(CLASSES), 254, 255], (2, *size)).astype(np.uint8)
    source, target = (
        {"image": tf.fill((*size, 3), value), "label": tf.constant(label)}
        for value, label in zip((1.0, 2.0), labels, strict=True)
    )
    return source, {**target, "weak": tf.fill((*size, 3), 3.0), "position": FIRST}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.25, 0.5, 1.0]))
def test_a_share_of_the_classes_shown_is_pasted_and_never_what_is_no_class(seed, share):
    source, _ = pair(seed)
    chosen = pasted_classes(source["label"], FIRST, CLASSES, share, seed).numpy()
    for label, picked in zip(source["label"].numpy(), chosen, strict=True):
        shown = set(np.unique(label)) & set(range(CLASSES))
        assert set(np.flatnonzero(picked)) <= shown
        assert picked.sum() == np.ceil(share * len(shown))


def test_pixels_and_labels_of_the_drawn_classes_move_together_in_every_view():
    source, target = pair()
    mixed = class_mixed(source, target, CLASSES, 0.5, 7)
    chosen = pasted_classes(source["label"], FIRST, CLASSES, 0.5, 7).numpy()
    for index in range(2):
        label = source["label"].numpy()[index]
        pasted = chosen[index][label]
        assert pasted.any()
        assert not pasted.all()
        np.testing.assert_array_equal(
            mixed["label"].numpy()[index], np.where(pasted, label, target["label"].numpy()[index])
        )
        np.testing.assert_array_equal(mixed["image"].numpy()[index, ..., 0], np.where(pasted, 1.0, 2.0))
        np.testing.assert_array_equal(mixed["weak"].numpy()[index, ..., 0], np.where(pasted, 1.0, 3.0))


def test_a_source_without_labels_changes_nothing():
    source, target = pair()
    source["label"] = tf.fill(source["label"].shape, tf.constant(255, tf.uint8))
    mixed = class_mixed(source, target, CLASSES, 0.5, 7)
    for key in target:
        np.testing.assert_array_equal(mixed[key], target[key])


def test_the_draw_is_a_function_of_seed_and_position_whoever_computes_the_row():
    source, target = pair()
    whole = class_mixed(source, target, CLASSES, 0.5, 7)
    rows = tf.data.Dataset.from_tensor_slices((source, target)).batch(1)
    for index, row in enumerate(rows.map(lambda first, second: class_mixed(first, second, CLASSES, 0.5, 7))):
        np.testing.assert_array_equal(row["label"][0], whole["label"][index])


def test_positions_draw_differently():
    source, _ = pair()
    label = tf.repeat(source["label"][:1], 8, axis=0)
    chosen = pasted_classes(label, tf.range(8, dtype=tf.int64), CLASSES, 0.5, 7).numpy()
    assert len({row.tobytes() for row in chosen}) > 4
