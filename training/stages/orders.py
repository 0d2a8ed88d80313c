"""The order in which a stage draws its images: alike, or rare class sampling (DAFormer, CVPR 2022, section 3.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from training.data.augment import SampleAugmentation
from training.data.domains import Domains, count_labels, looked_at
from training.data.sampling import Permutation, RareClasses, SampleOrder, shows_enough
from training.prediction.label_images import LabelledImages
from training.progress import Meter, console
from training.run_directory.kept_arrays import kept_array
from training.run_directory.paths import RunDirectory
from training.settings.sampling import RareClassSampling
from training.stages.stage import Run

SHOWN = 5  # classes that are named while a run works

Labelled = Literal["source", "target"]
"""Of which domain the labelled images are: the target's are the oracle's."""


def source_order(
    run: Run, sampling: RareClassSampling | None, part: np.ndarray | None = None, domain: Labelled = "source"
) -> SampleOrder | None:
    """The order of the labelled images of a stage; None = every epoch a fresh permutation of all of them.

    The counts behind it are of all images, made at the first call of a run, and kept; every worker calls it.

    Args:
        sampling: None = all images alike.
        part: int [n], indices of the images that take part; None = all.

    Raises:
        UserError: a label is damaged, or no image shows enough of any class.
    """
    if sampling is None:
        return None if part is None else Permutation(part)
    counts = class_counts(run, domain)
    frequencies = counts.sum(axis=0) / max(counts.sum(), 1)
    if part is not None:
        # The images that do not take part show nothing. The frequencies stay those of the whole domain.
        taking_part = np.isin(np.arange(len(counts)), part)
        counts = np.where(taking_part[:, None], counts, 0)
        if not shows_enough(counts, sampling.least_share).any():
            console.print(f"  no image of this part of the {domain} shows enough of any class: all are drawn uniformly")
            return Permutation(part)
    order = RareClasses(frequencies, counts, sampling.temperature, sampling.least_share)
    _say(order, domain, run.domains.label_space.names)
    return order


def target_order(found: LabelledImages, sampling: RareClassSampling | None) -> SampleOrder | None:
    """The order of the target's images by their pseudo-labels; None = all alike, also where no label is kept."""
    if sampling is None:
        return None
    if not shows_enough(found.image_counts, sampling.least_share).any():
        console.print("  no pseudo-label shows enough of any class: the target's images are drawn uniformly")
        return None
    order = RareClasses.from_counts(found.image_counts, sampling.temperature, sampling.least_share)
    _say(order, "target", found.class_names)
    return order


def showing(
    augmentation: SampleAugmentation, sampling: RareClassSampling | None, order: SampleOrder | None
) -> SampleAugmentation:
    """The augmentation whose crops are drawn again until they show the class that the order drew the image for."""
    if sampling is None or not isinstance(order, RareClasses):
        return augmentation
    return replace(
        augmentation,
        redraws=sampling.crop_draws,
        wanted_share=sampling.crop_share,
        most_share=sampling.crop_most_share,
    )


def order_figures(orders: Mapping[str, SampleOrder | None], names: Sequence[str]) -> dict[str, dict]:
    """What the state of a run keeps of its orders by domain; {} where no order chooses classes.

    {"rare_class_sampling": {domain: {class, the rarest first: {"pixels": share of the labelled pixels, "images": how
    many show enough, "drawn": the share of the images that are drawn for it}}}}
    """
    sampled = {name: order for name, order in orders.items() if isinstance(order, RareClasses)}
    figures = {name: _figures(order, names) for name, order in sampled.items()}
    return {"rare_class_sampling": figures} if figures else {}


def _figures(order: RareClasses, names: Sequence[str]) -> dict[str, dict]:
    return {
        names[index]: {
            "pixels": float(order.frequencies[index]),
            "images": int(order.class_images[index]),
            "drawn": float(order.class_probabilities[index]),
        }
        for index in np.argsort(order.frequencies, kind="stable")
    }


def _say(order: RareClasses, domain: str, names: Sequence[str]) -> None:
    """The classes that most images are drawn for, and those that cannot be drawn."""
    shares, missing = order.class_probabilities, np.flatnonzero(order.class_images == 0)
    most = np.argsort(-shares, kind="stable")[:SHOWN]
    drawn = ", ".join(f"{names[index]} {shares[index]:.1%}" for index in most if shares[index] > 0)
    console.print(f"  rare class sampling of the {domain}: images are drawn for {drawn}")
    if missing.size:
        left_out = ", ".join(names[index] for index in missing)
        console.print(f"  left out, for no image shows more than {order.least_share:.2%} of it: {left_out}")


def counted_files(
    directory: RunDirectory, sampling: RareClassSampling | None, domain: Labelled = "source"
) -> list[Path]:
    """The files that `source_order` leaves."""
    return [] if sampling is None else [directory.class_counts(domain)]


def class_counts(run: Run, domain: Labelled) -> np.ndarray:
    """Labelled pixels of each class in each image of the source, or of the oracle's target: int64 [images, classes].

    In pixels of the data's size, so that every image has the same weight. Counted once per run, by the chief.
    """
    path = run.directory.class_counts(domain)
    shape = (len(_dataset(run.domains, domain)), run.domains.label_space.count)

    return kept_array(path, lambda: _at_size(_count(run.domains, domain), run.size)[:, : shape[1]], shape, np.int64)


def _dataset(domains: Domains, domain: Labelled):
    return domains.source if domain == "source" else domains.warm_up


def _count(domains: Domains, domain: Labelled) -> np.ndarray:
    """`count_labels` of all images; those that were looked at for the class shares are not read again."""
    dataset = _dataset(domains, domain)
    known, table = looked_at(dataset), domains.source_table if domain == "source" else domains.warm_up_table
    rest = np.setdiff1d(np.arange(len(dataset)), known)
    counts = np.zeros((len(dataset), table.shape[1]), np.int64)
    counts[known] = table
    if rest.size:
        with Meter(f"counting the classes of the {domain}", len(dataset), len(known)) as meter:
            counts[rest] = count_labels(dataset, rest, meter)
    return counts


def _at_size(counts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel counts [images, ids] of whole images as if these were of `size`, rounded: int64."""
    return np.rint(counts * (size[0] * size[1] / counts.sum(axis=1, keepdims=True))).astype(np.int64)
