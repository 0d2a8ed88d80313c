"""FDA: against its definition with the full spectrum, and as the input pipeline calls it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.training.data import published_layouts as layouts
from training.data import datasets
from training.data.classes import LABEL_SPACES
from training.data.fourier import (
    AmplitudeExchange,
    FourierTranslation,
    PartnerAmplitudes,
    half_width,
    low_amplitudes,
    with_low_amplitudes,
)
from training.data.images import resize_image
from training.data.input_pipeline import SampleAugmentation, TrainingStream, raise_unreadable
from training.data.samples import Dataset
from training.distribution.shares import Share
from training.errors import UserError

SIZE = (24, 48)
STILL = SampleAugmentation(SIZE, flip=0.0)
BETAS = (0.05, 0.2)


def pair(size, seed=0) -> np.ndarray:
    """Two images, float64 [2, h, w, 3] in [0, 1]."""
    return np.random.default_rng(seed).random((2, *size, 3))


def by_definition(source: np.ndarray, target: np.ndarray, width: int) -> np.ndarray:
    """With the whole complex spectrum, the zero frequency in its middle, and the window -width..width."""
    source, target = (np.fft.fftshift(np.fft.fft2(each, axes=(0, 1)), axes=(0, 1)) for each in (source, target))
    middle = [length // 2 for length in source.shape[:2]]
    window = tuple(slice(centre - width, centre + width + 1) for centre in middle)
    amplitude, phase = np.abs(source), np.angle(source)
    amplitude[window] = np.abs(target)[window]
    spectrum = np.fft.ifftshift(amplitude * np.exp(1j * phase), axes=(0, 1))
    return np.fft.ifft2(spectrum, axes=(0, 1))


@pytest.mark.parametrize("size", [(16, 24), (15, 24), (16, 23), (15, 23), (24, 16)])
@pytest.mark.parametrize("beta", [0.0, 0.07, 0.2, 0.49])
def test_it_is_the_definition(size, beta):
    source, target = pair(size)
    width = half_width(beta, size)
    expected = by_definition(source, target, width)
    assert np.abs(expected.imag).max() < 1e-15  # the symmetric window keeps it real
    found = with_low_amplitudes(source, low_amplitudes(target, width))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected.real, rtol=0, atol=1e-14)


def test_an_image_with_its_own_amplitudes_is_itself():
    image = pair((32, 48))[0]
    assert np.abs(with_low_amplitudes(image, low_amplitudes(image, 7)) - image).max() <= 1e-15
    grey = np.random.default_rng(1).integers(0, 256, (32, 48, 3)).astype(np.float32)
    np.testing.assert_array_equal(np.rint(with_low_amplitudes(grey, low_amplitudes(grey, 7))), grey)


def test_a_window_of_the_zero_frequency_alone_gives_the_means_of_the_target():
    source, target = pair((32, 48))
    found = with_low_amplitudes(source, low_amplitudes(target, 0))
    np.testing.assert_allclose(found.mean((0, 1)), target.mean((0, 1)), rtol=1e-14)
    np.testing.assert_allclose(found - found.mean((0, 1)), source - source.mean((0, 1)), atol=1e-14)


def test_phases_and_high_frequencies_are_those_of_the_source_low_amplitudes_those_of_the_target():
    source, target = pair((32, 48))
    found = np.fft.rfft2(with_low_amplitudes(source, low_amplitudes(target, 3)), axes=(0, 1))
    was, partner = (np.fft.rfft2(each, axes=(0, 1)) for each in (source, target))
    window = np.ix_([0, 1, 2, 3, -3, -2, -1], [0, 1, 2, 3])
    np.testing.assert_allclose(np.abs(found[window]), np.abs(partner[window]))
    np.testing.assert_allclose(found / np.abs(found), was / np.abs(was))
    found[window] = was[window] = 0
    np.testing.assert_allclose(found, was, atol=1e-12)


def test_mirrored_images_give_the_mirrored_result():
    source, target = pair((32, 48))
    found = with_low_amplitudes(source, low_amplitudes(target, 5))
    for mirrored in (np.s_[::-1], np.s_[:, ::-1]):
        again = with_low_amplitudes(source[mirrored], low_amplitudes(target[mirrored], 5))
        np.testing.assert_allclose(again, found[mirrored], atol=1e-14)


def test_a_black_source_gets_the_brightness_of_the_target():
    target = pair((32, 48))[1]
    found = with_low_amplitudes(np.zeros_like(target), low_amplitudes(target, 0))
    np.testing.assert_allclose(found, np.broadcast_to(target.mean((0, 1)), found.shape), rtol=1e-14)


def test_the_width_of_the_window():
    assert [half_width(0.01, size) for size in ((64, 128), (128, 256), (512, 1024))] == [0, 1, 5]
    assert half_width(0.09, (512, 1024)) == 46
    for beta in (-0.01, 0.5, float("nan")):
        with pytest.raises(UserError, match=r"expected at least 0 and below 0\.5"):
            half_width(beta, (64, 128))


@pytest.fixture
def source(tmp_path) -> Dataset:
    return datasets.folders(layouts.write_folders(tmp_path / "source", 5), LABEL_SPACES["cityscapes19"])


@pytest.fixture
def target(tmp_path) -> Dataset:
    for number in range(7):
        pixels = np.random.default_rng(number).integers(10 * number, 100 + 20 * number, (30, 40, 3))
        layouts.save(tmp_path / f"target/{number}.png", pixels.astype(np.uint8))
    return datasets.image_folder(tmp_path / "target", LABEL_SPACES["cityscapes19"])


def exchange(target: Dataset, seed: int = 0, alongside: bool = False, batch_size: int = 1) -> AmplitudeExchange:
    partners = PartnerAmplitudes(target, SIZE, half_width(0.2, SIZE))
    return AmplitudeExchange(partners, BETAS, alongside, seed, batch_size)


def frame(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 4), np.uint8)


def test_a_frame_gets_the_amplitudes_of_its_partner_rounded_and_its_label_stays(target):
    change, original = exchange(target), frame()
    kept = original.copy()
    for position in range(20):
        drawn = change.drawn_at(position)
        partner = resize_image(target.read_image(drawn.partner), SIZE)
        exact = by_definition(original[..., :3], partner, half_width(drawn.beta, SIZE)).real
        found = change.change(0, position, original, None)
        assert (found.dtype, found.shape) == (np.uint8, original.shape)
        np.testing.assert_array_equal(found[..., 3], original[..., 3])
        assert np.abs(found[..., :3] - np.clip(exact, 0, 255)).max() < 0.501
        assert (found[..., :3] != original[..., :3]).any()
    np.testing.assert_array_equal(original, kept)


def test_what_is_drawn_depends_on_seed_and_position_alone(target):
    first, again, other = (exchange(target, seed) for seed in (1, 1, 2))
    backwards = {position: again.drawn_at(position) for position in reversed(range(300))}
    forwards = [first.drawn_at(position) for position in range(300)]
    assert forwards == [backwards[position] for position in range(300)]
    assert forwards != [other.drawn_at(position) for position in range(300)]
    assert {drawn.partner for drawn in forwards} == set(range(7))
    assert {drawn.beta for drawn in forwards} == set(BETAS)


def test_alongside_half_of_the_batches_show_the_originals_and_the_others_what_they_did(target):
    alone, alongside, original = exchange(target), exchange(target, alongside=True, batch_size=3), frame()
    drawn = [alongside.drawn_at(position) for position in range(3000)]
    translated = np.array([each is not None for each in drawn]).reshape(-1, 3)
    assert 440 < translated[:, 0].sum() < 560
    assert (translated == translated[:, :1]).all()
    assert all(each in (None, alone.drawn_at(position)) for position, each in enumerate(drawn))
    assert alongside.change(0, drawn.index(None), original, None) is original


def test_target_images_are_read_once_as_far_as_their_amplitudes_fit_in_memory(target, monkeypatch):
    read, reads = Dataset.read_image, []
    monkeypatch.setattr(Dataset, "read_image", lambda self, index: reads.append(index) or read(self, index))
    kept, not_kept = exchange(target), exchange(target)
    frames = [kept.change(0, position, frame(), None) for position in range(30)]
    assert len(reads) == len(set(reads))
    monkeypatch.setattr("training.data.fourier.CACHE_BYTES", 0)
    reads.clear()
    for position, expected in enumerate(frames):
        np.testing.assert_array_equal(not_kept.change(0, position, frame(), None), expected)
    assert len(reads) == 30
    # With room for two of seven, these two are kept.
    some = exchange(target)
    monkeypatch.setattr("training.data.fourier.CACHE_BYTES", 2 * kept.partners.of(0, kept.partners.width).nbytes)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda index: some.partners.of(index, 1), list(range(7)) * 2))
    assert len(some.partners._known) == 2


def batches(stream: TrainingStream, *start, **share) -> list[dict[str, np.ndarray]]:
    return [{key: value.numpy() for key, value in batch.items()} for batch in stream.batches(*start, **share)]


def read_all(stream: TrainingStream) -> None:
    """As a stage does."""
    for _ in stream.batches():
        raise_unreadable()
    raise_unreadable()


def assert_equal(first, second) -> None:
    for one, other in zip(first, second, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("alongside", [False, True])
def test_a_translated_stream_starts_anywhere_and_is_shared_among_devices_and_workers(source, target, alongside):
    stream = FourierTranslation.to(target, SIZE, BETAS, alongside).applied_to(
        TrainingStream(source, SIZE, STILL, batch_size=4, steps=5, seed=3)
    )
    whole = batches(stream)
    assert_equal(batches(stream, 2), whole[2:])
    for process in range(2):
        rows = [{key: value[row : row + 1] for key, value in batch.items()} for batch in whole for row in range(4)]
        mine = batches(stream, share=Share(process, processes=2, replicas=2))
        assert_equal(mine, [row for number, row in enumerate(rows) if number % 4 // 2 == process])
    plain = batches(TrainingStream(source, SIZE, STILL, batch_size=4, steps=5, seed=3))
    for one, other in zip(whole, plain, strict=True):
        np.testing.assert_array_equal(one["label"], other["label"])
        np.testing.assert_array_equal(one["index"], other["index"])
    of_all = [np.concatenate([batch["image"] for batch in found]) for found in (whole, plain)]
    same = [(one == other).all() for one, other in zip(*of_all, strict=True)]
    assert [len(set(of_batch)) for of_batch in np.reshape(same, (5, 4))] == [1] * 5  # no batch of both
    assert any(same) is alongside
    assert not all(same)


def test_a_damaged_target_image_met_in_a_step_is_named(source, target):
    stream = FourierTranslation.to(target, SIZE, BETAS, False).applied_to(
        TrainingStream(source, SIZE, STILL, batch_size=4, steps=9, seed=3)
    )
    target.samples[4].image.write_bytes(target.samples[4].image.read_bytes()[:200])
    with pytest.raises(UserError, match=r"4\.png is damaged"):
        read_all(stream)


def test_examples_show_source_partner_and_what_the_stream_shows(source, target):
    translation = FourierTranslation.to(target, SIZE, BETAS, True)
    stream = TrainingStream(source, SIZE, STILL, batch_size=4, steps=3, seed=3)
    shown = [image for batch in batches(translation.applied_to(stream)) for image in batch["image"]]
    change, found = exchange(target, 3, alongside=True, batch_size=4), list(translation.examples(stream))
    positions = [position for position in range(12) if change.drawn_at(position) is not None]
    assert 0 < len(found) == len(positions) < 12
    for (original, partner, translated), position in zip(found, positions, strict=True):
        np.testing.assert_array_equal(translated, shown[position])
        np.testing.assert_array_equal(
            original, resize_image(source.read_image(int(stream.order.indices(0, 12, 3)[position])), SIZE)
        )
        with Image.open(target.samples[change.drawn_at(position).partner].image) as image:
            np.testing.assert_array_equal(partner, resize_image(np.asarray(image), SIZE))
