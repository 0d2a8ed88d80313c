"""Modes of the second head (DRSL) in the stages of a run: their start, and how they are used.

In the warm-up the modes start, by k-means on embeddings of source frames, translated as those that it trains on, before
one of its steps: of the same step in a resumed run. So they do in an online training from ImageNet's weights. Block and
modes last from stage to stage. With `--warm-start` they are those of the other run; where it has none of these shapes,
the modes start before the first stage that needs them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from training.data.input_pipeline import TrainingStream, load_frame
from training.data.samples import Dataset
from training.distribution.workers import on_chief
from training.losses.metric import drawn_places
from training.losses.regions import OUTSIDE
from training.methods.mixture import GROUP, MixtureHead, mixture_head, mixture_terms
from training.methods.modes import least_share, mode_distances, started_modes, usage, usage_by_name
from training.methods.step import on_grid_of, thin_label
from training.prediction.predictor import images_at_once
from training.progress import console
from training.run_directory.checkpoint import lasting_groups, load_lasting, read_lasting, save_lasting
from training.settings.losses import Mixture
from training.stages.stage import Run, Stage, term_context
from training.stages.streams import source_stream

BATCH = 4  # images at once, of small ones
START_IMAGES = 300  # of the source, at most, that the modes start from
USAGE_IMAGES = 40  # of each domain that tell how the modes are used ...
USAGE_SAMPLES = 2000  # ... by so many samples per class, at most
_STREAM = 0x4D4F  # keeps these random numbers apart from others of the same seed and position


@dataclass(frozen=True)
class EmbeddedPixels:
    """Embeddings of pixels, as distances are taken of them: float32 `[n, D]`, with int32 `[n]` label, image (its
    position), row and column (in pixels at the run's size), and float32 `[n]` rank, a random number."""

    values: np.ndarray
    label: np.ndarray
    image: np.ndarray
    row: np.ndarray
    column: np.ndarray
    rank: np.ndarray

    def joined(self, other: "EmbeddedPixels") -> "EmbeddedPixels":
        """These pixels, then those of `other`."""
        return EmbeddedPixels(
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__dataclass_fields__)
        )

    def at_most(self, count: int) -> "EmbeddedPixels":
        """Per class the `count` pixels of the lowest ranks, in their order."""
        order = np.lexsort((self.rank, self.label))
        label = self.label[order]
        number_in_class = np.arange(len(label)) - np.searchsorted(label, label)
        kept = np.sort(order[number_in_class < count])
        return EmbeddedPixels(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))


def embedded_pixels(
    run: Run, head: MixtureHead, frame: Callable[[int], np.ndarray], images: int, most: int, *, predicted: bool = False
) -> EmbeddedPixels:
    """Samples of some images, drawn as in training; per class at most `most`, all drawn ones being as probable.

    Which ones follows from the head's seed and the images' positions. The memory that it takes does not grow with the
    number of images: after every few of them no more than `most` samples per class are kept.

    Args:
        frame: position -> uint8 `[h, w, 4]`, RGB and label at the run's size. images: how many positions there are.
        predicted: the classes are those that the network predicts, not the labels.
    """
    kept, batch = None, images_at_once(run.size, BATCH)
    for start in range(0, images, batch):
        part = _embedded(run, head, frame, range(start, min(start + batch, images)), predicted)
        kept = (part if kept is None else kept.joined(part)).at_most(most)
    return kept


def _embedded(run: Run, head: MixtureHead, frame: Callable, positions: range, predicted: bool) -> EmbeddedPixels:
    """Of a few images that fit into memory together."""
    # Images, labels on the grid of the loss and of the samples, which pixel each place of it is.
    frames = np.stack([frame(position) for position in positions])
    images, label = frames[..., :3], tf.constant(frames[..., 3], tf.int32)
    outputs = run.outputs_with_levels(tf.constant(images, tf.float32))
    if predicted:
        label = tf.argmax(on_grid_of(images[..., 0], outputs["logits"]), axis=-1, output_type=tf.int32)
    pixel = tf.reshape(tf.range(label.shape[1] * label.shape[2]), (1, *label.shape[1:]))
    label, pixel = (thin_label(each, head.loss_stride) for each in (label, pixel))
    size = tuple(label.shape[1:3])
    label, pixel = (head.thinned(each) for each in (label, pixel))
    # Places of each class.
    label = tf.reshape(tf.where(label < OUTSIDE, label, -1), (len(positions), -1))
    random = [np.random.default_rng((head.seed, position, _STREAM)) for position in positions]
    uniform = np.stack([each.random(label.shape[1], np.float32) for each in random])
    place, valid = drawn_places(label, head.classes, head.settings.samples, tf.constant(uniform))
    rank = np.stack([each.random(place.shape[1], np.float32) for each in random])
    values = head.embedded(outputs[head.need], place, size).numpy()
    # What is there.
    kept, place = valid.numpy(), place.numpy()
    found = tf.gather(label, place, axis=1, batch_dims=1).numpy()[kept]
    image = np.broadcast_to(np.asarray(positions)[:, None], kept.shape)[kept]
    row, column = np.divmod(pixel.numpy().ravel()[place[kept]], frames.shape[2])
    return EmbeddedPixels(values[kept], found, image, row, column, rank[kept])


def start_modes(run: Run, stage: Stage, head: MixtureHead, stream: TrainingStream, optimizer=None) -> None:
    """Start the modes, by k-means on the source as a training sees it: the first frames of its stream.

    Args:
        optimizer: of a training that is under way, in which the head takes part from now on.
    """
    settings, before = head.settings, np.asarray(head.modes)
    images = min(START_IMAGES, len(run.domains.source))

    def found():
        pixels = embedded_pixels(run, head, stream.frame, images, settings.start_embeddings)
        modes = started_modes(pixels.values, pixels.label, before, run.experiment.seed)
        return modes, usage(pixels.values, pixels.label, _as_used(head, modes)), len(pixels.label)

    with run.source_statistics(stage):
        modes, shares, count = on_chief(found)
    unknown = np.full(settings.modes, np.nan)
    head.start_with(modes, np.stack([unknown if each is None else each for each in shares]))
    if optimizer is not None:
        inner = getattr(optimizer, "inner_optimizer", optimizer)  # of a loss-scaling one
        inner.restart(head.modes, True)
        inner.begin_late()
    console.print(f"  {settings.modes} modes per class start by k-means on {count:,} embeddings of the source")
    step = head.thinning * head.loss_stride
    if step != settings.label_reduction:
        console.print(
            f"  every {step}th pixel of a row can be a sample, not every {settings.label_reduction}th as "
            f"label_reduction says: the loss is taken on every {head.loss_stride}th (data.loss_stride)"
        )
    say_usage(run, shares)


def go_on_with_modes(run: Run, stage: Stage, head: MixtureHead) -> bool:
    """Give the head block and modes as the last stage before has left them; False where none has any."""
    for before in reversed(run.plan[: run.plan.index(stage)]):
        path = run.directory.lasting(before.name)
        if before.name in run.directory.stages and path.is_file() and GROUP in lasting_groups(path):
            load_lasting(path, {GROUP: head.variables})
            head.forget()
            return True
    return False


def take_modes(run: Run, settings: Mixture | None, path: Path, place: Path) -> None:
    """Keep in `place` the second head that another run has kept in `path`, if it is one of these settings."""
    head = mixture_head(mixture_terms(settings, term_context(run, run.experiment.seed, steps=1)))
    if head is None:
        return
    kept = read_lasting(path, {GROUP})
    if [each.shape for each in kept[GROUP]] != [tuple(each.shape) for each in head.variables]:
        console.print("  the second head that was trained beside it has other shapes, and is not taken over")
        return
    load_lasting(path, {GROUP: head.variables})
    if float(head.active) == 0:
        console.print("  the second head beside it had not begun yet, and is not taken over")
    else:
        on_chief(lambda: save_lasting(place, kept))
        console.print("  with the second head that was trained beside it")


def begin_modes(run: Run, stage: Stage, head: MixtureHead) -> None:
    """Block and modes as the stages before have left them; else they start here."""
    if not go_on_with_modes(run, stage, head):
        console.print("  no stage before has trained the second head: its block starts at random")
        start_modes(run, stage, head, source_stream(run, stage.schedule, stage_seed(run, stage)))


def stage_seed(run: Run, stage: Stage) -> int:
    """Of what is drawn when modes start before a stage."""
    return 1000 * run.experiment.seed + run.plan.index(stage)


def usage_images(dataset: Dataset) -> Dataset:
    """The images of a domain that tell how the modes are used."""
    return dataset.evenly_spaced(USAGE_IMAGES)


def some_pixels(run: Run, head: MixtureHead, dataset: Dataset) -> EmbeddedPixels:
    """Samples of those images, as they are; without labels by what the network predicts."""
    part = usage_images(dataset)
    predicted = part.samples[0].label is None
    frame = partial(load_frame, part, size=run.size)
    return embedded_pixels(run, head, frame, len(part), USAGE_SAMPLES, predicted=predicted)


def modes_in_use(head: MixtureHead) -> np.ndarray:
    """The modes as they are now, as distances are taken of them: float32 `[classes, M, D]`."""
    return _as_used(head, np.asarray(head.modes))


def _as_used(head: MixtureHead, modes: np.ndarray) -> np.ndarray:
    return head.as_used(tf.constant(modes)).numpy()


def figures_of(run: Run, head: MixtureHead, pixels: Mapping[str, EmbeddedPixels], restarts: np.ndarray) -> dict:
    """How the modes are used now and how far apart they are; said of the source.

    Args:
        pixels: of each domain. restarts: int `[classes]`, those of the head before the stage.

    Returns:
        for each domain {class: share of each mode, or None}, "distances": see `distances_by_name`, "moved": {class: how
        often one of its modes started anew in the stage, if it did}.
    """
    names, modes = run.domains.label_space.names, modes_in_use(head)
    shares = {name: usage(each.values, each.label, modes) for name, each in pixels.items()}
    moved = dict(zip(names, (np.asarray(head.restarts) - restarts).tolist(), strict=True))
    moved = {name: count for name, count in moved.items() if count}
    if "source" in shares:
        say_usage(run, shares["source"])
    if moved:
        console.print(f"  modes started anew: {', '.join(f'{name} {count}' for name, count in moved.items())}")
    used = {name: usage_by_name(each, names) for name, each in shares.items()}
    return {**used, "distances": distances_by_name(modes, names), "moved": moved}


def distances_by_name(modes: np.ndarray, names: Sequence[str]) -> dict[str, list[float | None]]:
    """For figures: {class: mean distance between its modes, distance to the nearest mode of another class}."""
    return {name: list(each) for name, each in zip(names, mode_distances(modes), strict=True)}


def source_figures(run: Run, stage: Stage, head: MixtureHead) -> dict:
    """After the warm-up: `figures_of` on images of the source, and "start": the same after k-means."""
    with run.source_statistics(stage):
        pixels = some_pixels(run, head, run.domains.source)
    names, shares = run.domains.label_space.names, np.asarray(head.start_shares)
    at_start = {
        "source": usage_by_name([None if np.isnan(each).any() else each for each in shares], names),
        "distances": distances_by_name(_as_used(head, np.asarray(head.start)), names),
    }
    return {"start": at_start, **figures_of(run, head, {"source": pixels}, np.zeros(len(names), int))}


def say_usage(run: Run, shares: list[np.ndarray | None]) -> None:
    """How many modes are in use, and of which classes some are not."""
    all_of = max((len(each) for each in shares if each is not None), default=1)
    least = least_share(all_of)
    used = [None if each is None else int((each >= least).sum()) for each in shares]
    known = [each for each in used if each is not None]
    names = run.domains.label_space.names
    few = [f"{name} {each}" for name, each in zip(names, used, strict=True) if each is not None and each < all_of]
    listed = f"; fewer of {', '.join(few)}" if few else ""
    console.print(f"  modes with {100 * least:.2g} % of their class: {sum(known)} of {all_of * len(known)}{listed}")
