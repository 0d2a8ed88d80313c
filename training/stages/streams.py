"""The batches of a stage, as the data's sizes and the stage's schedule say."""

from dataclasses import asdict
from typing import Any

from training.data.augment import SampleAugmentation, check_augmentation
from training.data.input_pipeline import TrainingStream
from training.data.samples import Dataset
from training.errors import UserError
from training.settings.data import Data
from training.settings.schedule import Schedule
from training.stages.stage import Run


def augmentation_of(
    schedule: Schedule, data: Data, mine: float = 0.0, rare_classes: tuple[int, ...] = ()
) -> SampleAugmentation:
    """The schedule's augmentation at the data's crop; `mine`: probability of a crop around one of `rare_classes`."""
    return SampleAugmentation(crop=data.crop, mine=mine, mine_classes=rare_classes, **asdict(schedule.augmentation))


def refuse_augmentation(augmentation: SampleAugmentation, size: tuple[int, int], setting: str) -> None:
    """Raise UserError, which names the setting, if the augmentation cannot give its crops of images of `size`."""
    try:
        check_augmentation(augmentation, size)
    except UserError as error:
        raise UserError(f"{setting}: {error}") from error


def stream_of(
    dataset: Dataset,
    data: Data,
    schedule: Schedule,
    seed: int,
    augmentation: SampleAugmentation | None = None,
    **options: Any,
) -> TrainingStream:
    """One domain's stream in a stage.

    Args:
        augmentation: None = the schedule's.
        options: order, changes and views of the `TrainingStream`.
    """
    augmentation = augmentation or augmentation_of(schedule, data)
    return TrainingStream(dataset, data.size, augmentation, schedule.batch_size, schedule.steps, seed, **options)


def source_stream(
    run: Run, schedule: Schedule, seed: int, augmentation: SampleAugmentation | None = None, **options: Any
) -> TrainingStream:
    """The source's stream in a stage, translated where the recipe says so; arguments as those of `stream_of`."""
    stream = stream_of(run.domains.source, run.experiment.data, schedule, seed, augmentation, **options)
    return stream if run.translation is None else run.translation.applied_to(stream)
