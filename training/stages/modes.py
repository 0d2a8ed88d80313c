"""Modes of the second head (DRSL) in the stages of a run: their start, their restart, and how they are used.

In the warm-up the modes start, by k-means on embeddings of source images, before one of its steps: of the same step in
a resumed run. Block and modes last from stage to stage. A run without them, such as one with `--warm-start`, starts
its modes before the first stage that needs them.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from training.data.images import resize_image
from training.data.input_pipeline import load_frame
from training.data.samples import Dataset
from training.distribution.workers import on_chief
from training.losses.metric import drawn_places
from training.losses.regions import OUTSIDE
from training.methods.mixture import GROUP, MixtureHead
from training.methods.modes import restarted, started_modes, usage
from training.methods.step import on_grid_of, thin_label
from training.progress import console
from training.run_directory.checkpoint import lasting_groups, load_lasting
from training.stages.stage import Run, Stage

BATCH = 4
START_IMAGES = 300  # of the source, at most, that the modes start from
USAGE_IMAGES = 40  # of each domain that tell how the modes are used
LEAST_SHARE = 0.05  # of the samples of a class: what a mode in use has


@dataclass(frozen=True)
class EmbeddedPixels:
    """Embeddings of pixels, as distances are taken of them: float32 `[n, D]`, with int32 `[n]` label, image (its index
    in the data set), row and column (in pixels at the run's size)."""

    values: np.ndarray
    label: np.ndarray
    image: np.ndarray
    row: np.ndarray
    column: np.ndarray

    @classmethod
    def together(cls, parts: list["EmbeddedPixels"]) -> "EmbeddedPixels":
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def embedded_pixels(run: Run, head: MixtureHead, dataset: Dataset, indices, most: int | None = None) -> EmbeddedPixels:
    """Samples of some images, drawn as in training, by their labels or else by what the network predicts.

    Args:
        most: samples of a class, after which no more of it are kept; with so many of each class no more images are
            looked at. None: all.
    """
    parts, counts = [], np.zeros(head.classes, int)
    for start in range(0, len(indices), BATCH):
        part = _embedded(run, head, dataset, indices[start : start + BATCH])
        if most is not None:
            kept = np.concatenate([
                np.flatnonzero(part.label == number)[: most - counts[number]] for number in range(head.classes)
            ])  # fmt: skip
            part = EmbeddedPixels(*(getattr(part, name)[kept] for name in EmbeddedPixels.__dataclass_fields__))
        parts.append(part)
        counts += np.bincount(part.label, minlength=head.classes)
        if most is not None and (counts >= most).all():
            break
    return EmbeddedPixels.together(parts)


def _embedded(run: Run, head: MixtureHead, dataset: Dataset, indices) -> EmbeddedPixels:
    """Of a few images that fit into memory together."""
    # Images, labels, embeddings.
    if dataset.samples[0].label is None:
        images = np.stack([resize_image(dataset.read_image(int(index)), run.size) for index in indices])
        label = None
    else:
        frames = np.stack([load_frame(dataset, int(index), run.size) for index in indices])
        images, label = frames[..., :3], frames[..., 3].astype(np.int32)
    outputs = run.network(tf.constant(images, tf.float32), training=False)
    if label is None:
        label = tf.argmax(on_grid_of(images[..., 0], outputs["logits"]), axis=-1, output_type=tf.int32)
    reduction = head.settings.label_reduction
    label = thin_label(tf.convert_to_tensor(label), reduction)
    size = tuple(label.shape[1:3])
    # Places of each class, which the index of the image draws.
    random = [np.random.default_rng(int(index)).random(size[0] * size[1], np.float32) for index in indices]
    label = tf.reshape(tf.where(label < OUTSIDE, label, -1), (len(indices), -1))
    place, valid = drawn_places(label, head.classes, head.settings.samples, tf.constant(np.stack(random)))
    values = head.embedded(head.embedding_map(outputs["features"]), place, size).numpy()
    kept, place = valid.numpy(), place.numpy()
    found = tf.gather(label, place, axis=1, batch_dims=1).numpy()[kept]
    image = np.broadcast_to(np.asarray(indices)[:, None], kept.shape)[kept]
    row, column = (reduction * each[kept] + reduction // 2 for each in np.divmod(place, size[1]))
    return EmbeddedPixels(values[kept], found, image, row, column)


def start_modes(run: Run, head: MixtureHead) -> None:
    """Start the modes, by k-means on the source."""
    settings, source = head.settings, run.domains.source
    order = np.random.default_rng(run.experiment.seed).permutation(len(source))[:START_IMAGES]
    before = np.asarray(head.modes)

    def found():
        pixels = embedded_pixels(run, head, source, order, settings.start_embeddings)
        modes = started_modes(pixels.values, pixels.label, before, run.experiment.seed)
        return modes, usage(pixels.values, pixels.label, _as_used(head, modes)), len(pixels.label)

    with run.source_statistics():
        modes, shares, count = on_chief(found)
    head.start_with(modes)
    console.print(f"  {settings.modes} modes per class start by k-means on {count:,} embeddings of the source")
    say_usage(run, shares)


def go_on_with_modes(run: Run, stage: Stage, head: MixtureHead) -> bool:
    """Give the head block and modes as the last stage before has left them; False where none has any."""
    for before in reversed(run.plan[: run.plan.index(stage)]):
        path = run.directory.lasting(before.name)
        if before.name in run.directory.stages and path.is_file() and GROUP in lasting_groups(path):
            load_lasting(path, {GROUP: head.variables})
            return True
    return False


def begin_modes(run: Run, stage: Stage, head: MixtureHead) -> dict[str, int]:
    """Block and modes as the stages before have left them, dead modes moved; else they start here.

    Returns:
        how many modes were moved, by class, where any were.
    """
    if not go_on_with_modes(run, stage, head):
        console.print("  no stage before has trained the second head: its block starts at random")
        start_modes(run, head)
        return {}
    source, before = run.domains.source, np.asarray(head.modes)

    def found():
        pixels = some_pixels(run, head, source)
        return restarted(pixels.values, pixels.label, _as_used(head, before), stage_seed(run, stage))

    with run.source_statistics():
        modes, moved = on_chief(found)
    names = {name: count for name, count in zip(run.domains.label_space.names, moved, strict=True) if count}
    if names:
        head.start_with(np.where(np.array(moved)[:, None, None] > 0, modes, before))
        told = ", ".join(f"{name} {count}" for name, count in names.items())
        console.print(f"  dead modes start anew: {told}")
    return names


def stage_seed(run: Run, stage: Stage) -> int:
    """Of what is drawn when modes start anew."""
    return 1000 * run.experiment.seed + run.plan.index(stage)


def usage_images(dataset: Dataset) -> Dataset:
    """The images of a domain that tell how the modes are used."""
    return dataset.evenly_spaced(USAGE_IMAGES)


def some_pixels(run: Run, head: MixtureHead, dataset: Dataset) -> EmbeddedPixels:
    """Samples of those images."""
    part = usage_images(dataset)
    return embedded_pixels(run, head, part, np.arange(len(part)))


def modes_in_use(head: MixtureHead) -> np.ndarray:
    """The modes as they are now, as distances are taken of them: float32 `[classes, M, D]`."""
    return _as_used(head, np.asarray(head.modes))


def _as_used(head: MixtureHead, modes: np.ndarray) -> np.ndarray:
    return head.as_used(tf.constant(modes)).numpy()


def say_usage(run: Run, shares: list[np.ndarray | None]) -> None:
    """How many modes are in use, and of which classes some are not."""
    used = [None if each is None else int((each >= LEAST_SHARE).sum()) for each in shares]
    known = [each for each in used if each is not None]
    all_of = max((len(each) for each in shares if each is not None), default=0)
    names = run.domains.label_space.names
    few = [f"{name} {each}" for name, each in zip(names, used, strict=True) if each is not None and each < all_of]
    listed = f"; fewer of {', '.join(few)}" if few else ""
    console.print(
        f"  modes with {100 * LEAST_SHARE:.0f} % of their class: {sum(known)} of {all_of * len(known)}{listed}"
    )
