"""Image and label stay together through scale, crop and flip; photometry is what it says; eager equals graph."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.training.data.published_layouts import color_coded, street_label
from training.data import augment
from training.data.augment import (
    SampleAugmentation,
    apply_window,
    change_appearance,
    draw,
    draw_window,
    photometric,
    window_showing,
)
from training.data.classes import CITYSCAPES_COLORS, OUTSIDE
from training.errors import UserError

SIZE = (48, 96)


@pytest.fixture(scope="module")
def frame() -> tuple[tf.Tensor, tf.Tensor]:
    label = street_label(3, SIZE)
    return tf.constant(color_coded(label)), tf.constant(label)


def augmented(image, label, draws, augmentation):
    """Both steps of a training view."""
    image, label = apply_window(image, label, draw_window(label, draws, augmentation), augmentation.crop)
    return change_appearance(image, draws, augmentation), label


def nearest_class(image: np.ndarray) -> np.ndarray:
    """Class whose colour is nearest, pixel by pixel; 19 = black, the colour of ignored pixels."""
    palette = np.array([*CITYSCAPES_COLORS, (0, 0, 0)], np.float32)
    return np.linalg.norm(image[:, :, None] - palette, axis=-1).argmin(axis=-1)


def interior(label: np.ndarray) -> np.ndarray:
    """Pixels whose 3 x 3 neighbours all have their class, so that no interpolation mixed colours there."""
    inside = np.ones(label.shape, bool)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    for rows in (-1, 0, 1):
        for columns in (-1, 0, 1):
            inside &= np.roll(label, (rows, columns), (0, 1)) == label
    return inside


@pytest.mark.parametrize("crop", [(48, 96), (40, 32), (64, 80)])
def test_image_and_label_stay_aligned(frame, crop):
    augmentation = SampleAugmentation(crop, scale=(0.6, 2.0), flip=0.5)
    for position in range(25):
        draws = draw(5, tf.constant(position, tf.int64))
        image, label = apply_window(*frame, draw_window(frame[1], draws, augmentation), crop)
        image, label = image.numpy(), label.numpy()
        assert image.shape == (*crop, 3)
        assert image.dtype == np.float32
        assert label.dtype == np.uint8
        known = interior(label) & (label != OUTSIDE)
        assert known.sum() > 100
        np.testing.assert_array_equal(nearest_class(image)[known], label[known])


def test_padding_is_ignored_never_road(frame):
    image, label = frame[0], tf.zeros(SIZE, tf.uint8) + 7  # no pixel of the frame is 0 or 255
    crop = (48, 96)
    for position in range(20):
        draws = draw(1, tf.constant(position, tf.int64))
        augmentation = SampleAugmentation(crop, scale=(0.5, 0.5))
        padded_image, padded_label = apply_window(image, label, draw_window(label, draws, augmentation), crop)
        padded = padded_label.numpy() == OUTSIDE
        assert set(np.unique(padded_label)) == {7, OUTSIDE}
        assert padded.mean() == pytest.approx(0.75)
        np.testing.assert_allclose(padded_image.numpy()[padded], [augment.MEAN_COLOR] * padded.sum(), rtol=1e-6)


def test_whole_frame_without_change_is_the_frame(frame):
    draws = draw(0, tf.constant(0, tf.int64))
    image, label = augmented(*frame, draws, SampleAugmentation(SIZE, flip=0.0))
    np.testing.assert_array_equal(image, frame[0])
    np.testing.assert_array_equal(label, frame[1])
    image, label = augmented(*frame, draws, SampleAugmentation(SIZE, flip=1.0))
    np.testing.assert_array_equal(image, frame[0][:, ::-1])
    np.testing.assert_array_equal(label, frame[1][:, ::-1])


def test_scale_has_the_stated_range(frame):
    heights = []
    for position in range(200):
        draws = draw(2, tf.constant(position, tf.int64))
        window = draw_window(frame[1], draws, SampleAugmentation((48, 96), scale=(0.5, 2.0)))
        heights.append(48 / float(window.height))
        assert float(window.width) / float(window.height) == pytest.approx(2, abs=0.05)
    assert 0.49 < min(heights) < 0.56
    assert 1.9 < max(heights) < 2.05


def test_windows_reach_every_edge_and_stay_inside(frame):
    tops, lefts = set(), set()
    for position in range(300):
        draws = draw(4, tf.constant(position, tf.int64))
        top, left, height, width, _ = map(int, draw_window(frame[1], draws, SampleAugmentation((40, 90))))
        assert (height, width) == (40, 90)
        tops.add(top)
        lefts.add(left)
    assert tops == set(range(9))
    assert lefts == set(range(7))


def test_mined_crops_hold_a_rare_class_and_choose_classes_evenly():
    label = np.zeros(SIZE, np.uint8)
    label[40:44, 90:94] = 6  # 16 pixels
    label[5:15, 5:25] = 17  # 200 pixels
    always = SampleAugmentation((16, 32), mine=1.0, mine_classes=(6, 12, 17))
    never = SampleAugmentation((16, 32), mine=0.0, mine_classes=(6, 12, 17))
    hits = {6: 0, 17: 0}
    plain = 0
    image = tf.zeros((*SIZE, 3), tf.uint8)
    for position in range(100):
        draws = draw(9, tf.constant(position, tf.int64))
        _, crop = apply_window(image, tf.constant(label), draw_window(tf.constant(label), draws, always), (16, 32))
        present = set(np.unique(crop)) & {6, 17}
        assert present
        for train_id in present:
            hits[train_id] += 1
        _, crop = apply_window(image, tf.constant(label), draw_window(tf.constant(label), draws, never), (16, 32))
        plain += bool(set(np.unique(crop)) & {6, 17})
    assert min(hits.values()) > 35  # by pixels class 6 would have 7 % of the crops
    assert plain < 60


def test_mining_without_a_rare_class_is_an_ordinary_crop():
    label = tf.zeros(SIZE, tf.uint8)
    for position in range(20):
        draws = draw(9, tf.constant(position, tf.int64))
        mined = draw_window(label, draws, SampleAugmentation((16, 32), mine=1.0, mine_classes=(6,)))
        ordinary = draw_window(label, draws, SampleAugmentation((16, 32)))
        assert list(map(int, mined)) == list(map(int, ordinary))


RARE = 6


def rare_corner(crop: tuple[int, int], **options) -> tuple[tf.Tensor, SampleAugmentation]:
    """A frame with the rare class in a corner of 10 x 10 pixels, and an augmentation that wants to show it."""
    label = np.zeros(SIZE, np.uint8)
    label[-10:, -10:] = RARE
    return tf.constant(label), SampleAugmentation(crop, scale=(0.7, 1.5), **options)


def share_shown(label: tf.Tensor, window, crop) -> float:
    _, shown = apply_window(tf.zeros((*SIZE, 3), tf.uint8), label, window, crop)
    return float((shown.numpy() == RARE).mean())


def test_a_crop_is_the_first_of_its_draws_that_shows_enough_of_the_wanted_class():
    """Draw k is `draw(seed, position, k)`; after the last try the window stays as it is."""
    crop, redraws = (16, 24), 4
    label, augmentation = rare_corner(crop, redraws=redraws, wanted_share=0.05)
    stops = set()
    for position in (tf.constant(k, tf.int64) for k in range(45)):
        numbers = [draw(5, position), *(draw(5, position, tf.constant(k)) for k in range(1, redraws + 1))]
        windows = [draw_window(label, draws, augmentation) for draws in numbers]
        shares = [share_shown(label, window, crop) for window in windows]
        if min(abs(share - 0.05) for share in shares) < 0.02:
            continue  # the crop's pixels are resampled from the window's: too near to tell
        stop = next((k for k, share in enumerate(shares) if share > 0.05), redraws)
        found = window_showing(label, tf.constant(RARE), 5, position, augmentation)
        assert list(map(int, found)) == list(map(int, windows[stop]))
        stops.add(stop)
    assert stops == set(range(redraws + 1))


def test_a_crop_that_shows_too_much_of_one_class_is_drawn_again():
    """Of the labelled pixels; with a share of 1 the draws are those without it."""
    redraws, crop = 3, (16, 24)
    label = np.zeros(SIZE, np.uint8)
    label[::2], label[:, :40] = RARE, 255  # half rare to the right of an unlabelled part
    label[:, 60:] = RARE
    any_will_do = SampleAugmentation(crop, redraws=redraws, wanted_share=0.05)
    mixed = replace(any_will_do, most_share=0.75)
    stops = set()
    for position in (tf.constant(k, tf.int64) for k in range(25)):
        numbers = [draw(5, position), *(draw(5, position, tf.constant(k)) for k in range(1, redraws + 1))]
        windows = [draw_window(label, draws, mixed) for draws in numbers]

        def first(most_share, windows=windows):
            for k, (top, left, height, width, _) in enumerate(windows):
                shown = label[top : top + height, left : left + width]
                share, labelled = (shown == RARE).mean(), (shown != 255).mean()
                if share > 0.05 and max(share, labelled - share) / labelled <= most_share:
                    return k
            return redraws

        for augmentation in (any_will_do, mixed):
            found = window_showing(tf.constant(label), tf.constant(RARE), 5, position, augmentation)
            assert list(map(int, found)) == list(map(int, windows[first(augmentation.most_share)]))
        stops.add((first(1.0), first(0.75)))
    assert {two for _, two in stops} == set(range(redraws + 1))
    assert any(one < two for one, two in stops)


@pytest.mark.parametrize(("wanted", "redraws"), [(RARE, 0), (-1, 10)])
def test_no_crop_is_drawn_again_without_redraws_or_a_wanted_class(wanted, redraws):
    label, augmentation = rare_corner((16, 24), redraws=redraws)
    for position in (tf.constant(k, tf.int64) for k in range(10)):
        found = window_showing(label, tf.constant(wanted), 5, position, augmentation)
        first = draw_window(label, draw(5, position), augmentation)
        assert list(map(int, found)) == list(map(int, first))


def test_redrawn_crops_are_equal_eagerly_and_inside_tf_data_and_may_reach_beyond_the_frame():
    label, augmentation = rare_corner((64, 120), redraws=3, wanted_share=0.016)
    window_at = lambda k: window_showing(label, tf.constant(RARE), 5, k, augmentation)  # noqa: E731
    for position, window in enumerate(tf.data.Dataset.range(20).map(window_at)):
        assert list(map(int, window)) == list(map(int, window_at(tf.constant(position, tf.int64))))


def test_eager_and_inside_tf_data_agree(frame):
    everything = SampleAugmentation((40, 80), scale=(0.6, 1.5), jitter=1.0, grey=0.2, blur=0.5, noise=0.5, mine=0.5,
                              mine_classes=(3, 9))  # fmt: skip
    stream = tf.data.Dataset.range(15).map(lambda k: augmented(*frame, draw(7, k), everything))
    for position, (image, label) in enumerate(stream):
        eager_image, eager_label = augmented(*frame, draw(7, tf.constant(position, tf.int64)), everything)
        np.testing.assert_array_equal(label, eager_label)
        np.testing.assert_allclose(image, eager_image, atol=1e-2)
        assert tf.reduce_min(image) >= 0
        assert tf.reduce_max(image) <= 255


def test_no_jitter_is_no_change():
    image = tf.random.stateless_uniform((8, 9, 3), (0, 1), maxval=255.0)
    np.testing.assert_allclose(photometric(image, tf.fill([11], 0.7), 0.0), image, atol=1e-2)
    np.testing.assert_allclose(
        photometric(image, tf.fill([11], 0.5), 1.0), image, atol=1e-2
    )  # the middle of all ranges


def test_grey_and_hue():
    image = tf.random.stateless_uniform((8, 9, 3), (0, 1), minval=50.0, maxval=200.0)
    middle = np.full(11, 0.5, np.float32)
    grey = photometric(image, tf.constant(middle), 1.0, grey=0.6).numpy()
    np.testing.assert_allclose(grey.max(axis=-1), grey.min(axis=-1), atol=1e-3)
    np.testing.assert_allclose(grey[..., 0], image.numpy() @ [0.299, 0.587, 0.114], atol=1e-2)
    turned = middle.copy()
    turned[3] = 0.99
    rotated = photometric(image, tf.constant(turned), 1.0).numpy()
    assert np.abs(rotated - image).max() > 5
    np.testing.assert_allclose(rotated.mean(axis=-1), image.numpy().mean(axis=-1), atol=1e-2)  # about the grey axis


@pytest.mark.parametrize(("place", "statistic"), [(0, np.mean), (1, np.std), (4, np.mean)])
def test_brightness_contrast_gamma_go_the_right_way(place, statistic):
    image = tf.random.stateless_uniform((32, 32, 3), (0, 1), minval=60.0, maxval=150.0)
    low, high = np.full(11, 0.5, np.float32), np.full(11, 0.5, np.float32)
    low[place], high[place] = 0.2, 0.8
    values = [statistic(photometric(image, tf.constant(uniform), 1.0)) for uniform in (low, high)]
    values = values if place != 4 else values[::-1]  # a larger gamma darkens
    assert values[0] < statistic(image) < values[1]


def test_blur_keeps_the_mean_and_lowers_the_variance():
    image = tf.random.stateless_uniform((32, 40, 3), (0, 1), maxval=255.0)
    blurred = augment.blurred(image, tf.constant(1.5)).numpy()
    assert blurred.shape == image.shape
    assert blurred.mean() == pytest.approx(float(tf.reduce_mean(image)), abs=2)
    assert blurred.std() < 0.4 * np.std(image)
    np.testing.assert_allclose(augment.blurred(image, tf.constant(0.1)), image, atol=1e-3)
    np.testing.assert_allclose(augment.blurred(tf.fill((8, 8, 3), 77.0), tf.constant(1.0)), 77.0, rtol=1e-5)


def test_appearance_is_off_by_default(frame):
    image = tf.cast(frame[0], tf.float32)
    for position in range(5):
        draws = draw(0, tf.constant(position, tf.int64))
        np.testing.assert_array_equal(change_appearance(image, draws, SampleAugmentation(SIZE)), image)


def test_blur_and_noise_have_the_stated_probability():
    image = tf.random.stateless_uniform((16, 16, 3), (0, 1), minval=50.0, maxval=200.0)
    for augmentation in (SampleAugmentation((16, 16), blur=0.3), SampleAugmentation((16, 16), noise=0.3)):
        changed = [
            bool(tf.reduce_any(change_appearance(image, draw(0, tf.constant(k, tf.int64)), augmentation) != image))
            for k in range(120)
        ]
        assert 0.15 < np.mean(changed) < 0.45


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (SampleAugmentation((200, 96)), "crop 200x96 .* larger than frames of 48x96 enlarged 1.0 times"),
        (SampleAugmentation((48, 97)), "crop 48x97"),
        (SampleAugmentation((0, 96)), "both must be positive"),
        (SampleAugmentation(SIZE, scale=(0.0, 1.0)), "two positive numbers"),
        (SampleAugmentation(SIZE, scale=(2.0, 1.0)), "the smaller one first"),
        (SampleAugmentation(SIZE, flip=1.5), "flip is 1.5: it is a probability"),
        (SampleAugmentation(SIZE, jitter=-1.0), "jitter is -1.0"),
        (SampleAugmentation(SIZE, redraws=-1), "redraws are -1: it is a number of tries"),
        (SampleAugmentation(SIZE, wanted_share=1.0), "wanted_share is 1.0: it is a share"),
        (SampleAugmentation(SIZE, most_share=0.0), "most_share is 0.0: it is a share"),
    ],
)
def test_impossible_settings_are_refused(augmentation, message):
    with pytest.raises(UserError, match=message):
        augment.check_augmentation(augmentation, SIZE)
