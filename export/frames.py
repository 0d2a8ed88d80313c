"""The images an export is checked on: of the target without its labels, and the labelled ones for figures."""

from dataclasses import replace
from math import sqrt

import numpy as np

from training.data.classes import LabelSpace
from training.data.domains import evaluation_of, load_domain
from training.data.images import resize_image
from training.data.picture_pixels import Range
from training.data.samples import Dataset
from training.data.sampling import evenly_spaced
from training.data.streetsim import STYLES, render
from training.errors import UserError
from training.settings.data import Domain
from training.settings.experiment import Experiment

CALIBRATION_FRAMES = 16
PARITY_FRAMES = 4
PARITY_PIXELS = 150_000  # of one frame: convolutions are right or wrong at any size, and the largest networks are slow
EVALUATION_PIXELS = 1_500_000  # of all images together whose mIoU is compared
EVALUATION_IMAGES = (4, 50)  # at least and at most


def checking_frames(experiment: Experiment, space: LabelSpace, precision: str) -> tuple[list[np.ndarray], str]:
    """Frames to calibrate and check an export on, and a sentence where they are not the target's.

    Raises:
        UserError: int8 is asked for and the target's images are gone.
    """
    try:
        return target_frames(experiment, space), ""
    except UserError as error:
        if precision == "int8":
            raise UserError(f"int8 is calibrated on images of the target, but {error}") from error
        return generated_frames(experiment.data.size), f"Checked on built-in streets, because {error}"


def target_frames(experiment: Experiment, space: LabelSpace) -> list[np.ndarray]:
    """Up to 16 target images, uint8 [*size, 3], evenly spaced over the data set and at its training size.

    Those that cannot be read are passed over, as a run does.

    Raises:
        UserError: the target is no longer where the run found it, or none of these images can be read.
    """
    data = experiment.data
    target = load_domain(first_frames(data.target, CALIBRATION_FRAMES), space, data.size, labelled=None)
    part = target.evenly_spaced(CALIBRATION_FRAMES)
    frames, errors = [], []
    for index in range(len(part)):
        try:
            frames.append(resize_image(part.read_image(index), data.size))
        except UserError as error:
            errors.append(error)
    if not frames:
        raise errors[0]
    return frames


def generated_frames(size: tuple[int, int]) -> list[np.ndarray]:
    """Built-in streets, uint8 [*size, 3]: for a check where the target's own images are gone."""
    return [render(STYLES["city"], 0, index, size)[0] for index in range(PARITY_FRAMES)]


def parity_frames(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Four of the frames at other sizes each, odd ones among them, none above PARITY_PIXELS."""
    chosen = [frames[index] for index in evenly_spaced(len(frames), PARITY_FRAMES)]
    height, width = chosen[0].shape[:2]
    scale = min(1.0, sqrt(PARITY_PIXELS / (height * width)))
    size = (round(height * scale), round(width * scale))
    smaller = [resize_image(frame, size) for frame in chosen]
    return [frame[3 * index :, : size[1] - 5 * index] for index, frame in enumerate(smaller)]


def evaluation_images(experiment: Experiment, sixteen_bit_range: Range | None = None) -> Dataset | None:
    """Some labelled target images, evenly spaced, or None where there are none (any more).

    sixteen_bit_range: what 16-bit images are stretched from, as in the run.
    """
    data = experiment.data
    least, most = EVALUATION_IMAGES
    count = min(most, max(least, EVALUATION_PIXELS // (data.size[0] * data.size[1])))
    if data.evaluation is not None:
        experiment = replace(experiment, data=replace(data, evaluation=first_frames(data.evaluation, count)))
    try:
        dataset = evaluation_of(experiment, sixteen_bit_range)
    except UserError:
        return None
    return None if dataset is None else dataset.evenly_spaced(count)


def first_frames(domain: Domain, count: int) -> Domain:
    """The domain with at most `count` frames to render; of files on disk all, which costs nothing."""
    return replace(domain, count=min(domain.count, count)) if domain.reader == "streetsim" else domain
