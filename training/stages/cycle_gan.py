"""CycleGAN as the translation of a recipe: it is trained on both domains, and translates the source once.

Order of the stages:

* With BDL's semantic term (the default): warm-up on the originals, CycleGAN, translation, warm-up on the translated
  images, and what the recipe has after it. The term needs a segmenter that knows the source, so a source model comes
  first. The one that the recipe goes on with starts anew from the initial weights, as in BDL (CVPR 2019), with the
  steps and the order of the first: they differ by the images alone, so the report shows what the translation is worth.
  With `--warm-start` of a source model the first warm-up costs nothing; one that was adapted already goes on as it is.
  With `translation.warm_up=False` (DRSL) the recipe goes on with the first one.
* Without the term: CycleGAN, translation, then the warm-up, as with every other translation.

Training and translation are two stages: lost images are made again without training. A resumed run makes them where a
stage is left that is shown the source; the stages after the translation stay unless the images become others.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow as tf
from PIL import Image

from models.translator import LEAST_SIDE, build_generator, build_patch_discriminator
from training.data.augment import SampleAugmentation
from training.data.input_pipeline import evaluation_stream, side_by_side
from training.data.translated_images import own_picture
from training.distribution.devices import share_of_this_process
from training.distribution.workers import on_chief
from training.errors import UserError
from training.evaluation.panels import write_translation
from training.files.atomic import whole_file
from training.methods.cycle_gan import CycleGanTraining, TranslatorNetworks
from training.methods.optimizers import build_optimizer
from training.progress import Meter, console
from training.run_directory.checkpoint import load_lasting
from training.run_directory.digests import digests_of, read_digests
from training.settings.data import Data
from training.settings.data import Translator as Sizes
from training.settings.experiment import Experiment
from training.settings.schedule import Schedule
from training.settings.translation import CycleGan
from training.stages.fitting import train_stage
from training.stages.stage import TRANSLATION, Run, Stage
from training.stages.streams import augmentation_of, refuse_augmentation, stream_of
from training.stages.translation import refuse_unused
from training.stages.warm_up import translated_warm_up

NAME = "cycle_gan"
STREAMS = 900  # keeps the streams of the translators apart from those of other stages
EXAMPLES = 6
SMALL_CROP = 128  # pixels in height and width, of which 6 blocks are enough (CycleGAN, ICCV 2017)
TITLES = ("source", "translated", "reconstruction", "a photo of the target")


def stages(part: CycleGan, experiment: Experiment) -> tuple[Stage, ...]:
    """Training, translation; with the semantic term the source model on the translated images, if it shall see them.

    Raises:
        UserError: no stage of the recipe trains on translated images, the images are too small, or the augmentation
            cannot give the crops.
    """
    refuse_unused(experiment)
    refuse_small(experiment.data)
    schedule = experiment.data.schedules["translation"]
    size = size_of(experiment.data.translator, experiment.data.size)
    refuse_augmentation(crops_of(experiment.data, schedule), size, CycleGanStage.setting)
    common = {"phrase": "", "scored": False, "sizes": experiment.data.translator}
    trained = CycleGanStage(name=NAME, title="CycleGAN", schedule=schedule, settings=part, **common)
    translated = TranslatingStage(name=TRANSLATION, title="Translation", **common)
    anew = [translated_warm_up(experiment)] if experiment.recipe.warms_up_again else []
    return (trained, translated, *anew)


def refuse_small(data: Data) -> None:
    """Raise UserError if the discriminators have no score for what the translators learn from."""
    size = size_of(data.translator, data.size)
    crop = crop_of(data.translator, size)
    if min(crop) < LEAST_SIDE:
        raise UserError(
            f"CycleGAN would learn from crops of {crop[0]}x{crop[1]} of images of {size[0]}x{size[1]}, and its "
            f"discriminators need {LEAST_SIDE} pixels in height and width: set a larger data.translator.width, or the "
            "data's size"
        )


@dataclass(frozen=True, kw_only=True)
class CycleGanStage(Stage):
    """Training of both translators, on random crops of both domains."""

    setting: ClassVar = "data.schedules.translation"
    settings: CycleGan
    sizes: Sizes

    def check(self) -> None:
        if self.schedule.accumulate > 1:
            raise UserError(
                f"{self.setting}.accumulate is {self.schedule.accumulate}, and the pools of CycleGAN take a whole "
                f"batch at once: set it to 1; for less memory set a smaller {self.setting}.batch_size or "
                "data.translator.crop"
            )

    def run(self, run: Run) -> dict:
        data, schedule, seed = run.experiment.data, self.schedule, run.experiment.seed
        size = size_of(self.sizes, run.size)
        crop = crop_of(self.sizes, size)
        of_images = f"crops of {crop[0]}x{crop[1]} of images of {size[0]}x{size[1]}"
        blocks = blocks_of(self.sizes, size)
        console.print(f"CycleGAN of {blocks} blocks: {schedule.steps} steps on {of_images}", style="bold")
        # 1. Images of an earlier training, which was damaged, are of no use.
        on_chief(lambda: shutil.rmtree(run.directory.translated, ignore_errors=True))
        # 2. Training.
        networks = TranslatorNetworks(**generators(self.sizes, size, seed), **discriminators(self.sizes, seed))
        segmenter = run.network if self.settings.needs_segmenter else None
        method = CycleGanTraining(networks, self.settings, crop, seed, segmenter)
        crops = crops_of(data, schedule)
        domains, first = run.domains, 1000 * seed + STREAMS
        streams = {
            name: stream_of(dataset, replace(data, size=size), schedule, first + number, crops)
            for number, (name, dataset) in enumerate({"source": domains.source, "target": domains.target}.items())
        }
        other = {"discriminator_optimizer": build_optimizer(schedule.optimizer, schedule.steps, [])}
        make_stream = side_by_side(**streams)
        train_stage(method, schedule, self.name, make_stream, run.directory, [], seed, setting=self.setting, **other)
        # 3. The generators are kept.
        run.save_lasting(method, self)
        return {}


@dataclass(frozen=True, kw_only=True)
class TranslatingStage(Stage):
    """Every image of the source through the trained generator, into the run directory; and a picture for the report.

    Images that are there already, from before a kill, are not made again.
    """

    sizes: Sizes

    def run(self, run: Run) -> dict:
        directory, size = run.directory, size_of(self.sizes, run.size)
        to_target, to_source = self._translate(run)
        examples = _examples(run, size, to_target, to_source)
        on_chief(lambda: write_translation(directory.translation_picture, examples, TITLES))
        return {}

    def restored(self, run: Run) -> bool:
        directory, files = run.directory, self.files(run)
        lost = on_chief(lambda: [path for path in files if path.parent == directory.translated and not path.is_file()])
        if not lost:
            return True
        self._translate(run)
        were, now = read_digests(directory.digests(self.name)), on_chief(lambda: digests_of(directory.path, lost))
        return now.items() <= were.items()

    def _translate(self, run: Run) -> tuple[Callable, Callable]:
        """Make the images that are not there; both translators, see `translating`."""
        directory, source, size = run.directory, run.domains.source, size_of(self.sizes, run.size)
        networks = generators(self.sizes, size, run.experiment.seed)
        load_lasting(directory.lasting(NAME), {name: network.weights for name, network in networks.items()})
        to_target, to_source = (translating(networks[name]) for name in ("to_target", "to_source"))
        console.print(f"Translation of the source: {len(source)} images of {size[0]}x{size[1]}", style="bold")
        translate(source, size, to_target, directory.translated)
        return to_target, to_source

    def files(self, run: Run) -> list[Path]:
        folder = run.directory.translated
        return [*(own_picture(folder, each) for each in run.domains.source.samples), run.directory.translation_picture]


def size_of(sizes: Sizes, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the images that are translated, where the data's is `size`."""
    width = min(sizes.width or size[1], size[1])
    return round(size[0] * width / size[1]), width


def crop_of(sizes: Sizes, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the crops that the translators learn from, in images of `size`."""
    return min(sizes.crop[0], size[0]), min(sizes.crop[1], size[1])


def crops_of(data: Data, schedule: Schedule) -> SampleAugmentation:
    """The random crops that the translators learn from."""
    crop = crop_of(data.translator, size_of(data.translator, data.size))
    return replace(augmentation_of(schedule, data), crop=crop)


def blocks_of(sizes: Sizes, size: tuple[int, int]) -> int:
    """How many blocks a generator has, for images of `size` (see `size_of`); where it is left open as published."""
    return sizes.blocks or (6 if max(crop_of(sizes, size)) <= SMALL_CROP else 9)


def generators(sizes: Sizes, size: tuple[int, int], seed: int) -> dict:
    """The generators by their names in `TranslatorNetworks`, for images of `size`; they start at random."""
    names, blocks = ("to_target", "to_source"), blocks_of(sizes, size)
    return {name: build_generator(sizes.channels, blocks, 4 * seed + n) for n, name in enumerate(names)}


def discriminators(sizes: Sizes, seed: int) -> dict:
    """The discriminators by their names in `TranslatorNetworks`; they start at random."""
    names = ("of_source", "of_target")
    return {name: build_patch_discriminator(sizes.channels, 4 * seed + n) for n, name in enumerate(names, start=2)}


def translating(generator) -> Callable[[tf.Tensor], np.ndarray]:
    """`image float32 [1, h, w, 3] in [0, 255] -> uint8 [h, w, 3]`, one graph for all sizes."""
    one_for_all_sizes = [tf.TensorSpec((None, None, None, 3), tf.float32)]

    @tf.function(input_signature=one_for_all_sizes, autograph=False)
    def translated(image):
        return tf.cast(tf.round(generator(image, training=False)), tf.uint8)

    return lambda image: translated(image)[0].numpy()


def translate(source, size: tuple[int, int], to_target: Callable, folder: Path) -> None:
    """Write `own_picture` of every sample of `source` at `size`, if it is not there; workers share the images.

    Raises:
        UserError: a damaged file. CannotWrite: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mine = share_of_this_process().in_batches(len(source), 1)
    missing = [int(index) for index in mine if not own_picture(folder, source.samples[index]).is_file()]
    part = source.subset(missing)
    with Meter("translating the source", len(mine), len(mine) - len(missing)) as meter:
        stream = evaluation_stream(part, size, 1) if missing else ()
        for sample, batch in zip(part.samples, stream, strict=True):
            with whole_file(own_picture(folder, sample), lasting=True) as partial:
                Image.fromarray(to_target(batch["image"])).save(partial, compress_level=3)
            meter.advance()
    on_chief(lambda: None)  # all workers have written theirs


def _examples(
    run: Run, size: tuple[int, int], to_target: Callable, to_source: Callable
) -> Iterator[tuple[np.ndarray, ...]]:
    """Evenly spaced images of the source, what becomes of them, and beside each a photo of the target."""
    source, target = (each.evenly_spaced(EXAMPLES) for each in (run.domains.source, run.domains.target))
    photos = [batch["image"] for batch in evaluation_stream(target, size, 1)]
    for number, batch in enumerate(evaluation_stream(source, size, 1)):
        image, photo = batch["image"], photos[number % len(photos)]
        translated = to_target(image)
        back = to_source(translated[None].astype(np.float32))
        yield _pixels(image), translated, back, _pixels(photo)


def _pixels(image: tf.Tensor) -> np.ndarray:
    """float32 [1, h, w, 3] -> uint8 [h, w, 3]."""
    return image[0].numpy().round().astype(np.uint8)
