"""The batches of a stage, as the data's size and the stage's schedule say."""

from dataclasses import asdict

import numpy as np
import tensorflow as tf

from training.data.augment import Augmentation
from training.data.input_pipeline import training_stream
from training.data.samples import Dataset
from training.distribution.shares import Share
from training.settings import Data, Schedule


def augmentation_of(
    schedule: Schedule, data: Data, mine: float = 0.0, rare_classes: tuple[int, ...] = ()
) -> Augmentation:
    """The schedule's augmentation at the data's crop; `mine`: probability of a crop around one of `rare_classes`."""
    return Augmentation(crop=data.crop, mine=mine, mine_classes=rare_classes, **asdict(schedule.augmentation))


def augmented_stream(
    dataset: Dataset,
    data: Data,
    schedule: Schedule,
    seed: int,
    first_step: int,
    share: Share,
    augmentation: Augmentation | None = None,
    indices: np.ndarray | None = None,
    **views,
) -> tf.data.Dataset:
    """Batches `first_step` .. `schedule.steps - 1` of a stage, a function of seed and step alone.

    Args:
        share: the rows of each global batch that this process computes.
        augmentation: None = the schedule's.
        indices: the samples to draw from; None = all.
        views: further options of `training_stream`.
    """
    return training_stream(
        dataset,
        data.size,
        augmentation or augmentation_of(schedule, data),
        schedule.batch_size,
        schedule.steps,
        seed=seed,
        start_step=first_step,
        indices=indices,
        share=share,
        **views,
    )
