"""From `settings.Domain` descriptions to data sets: the one place that knows which reader serves which name."""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from training.data import datasets
from training.data.classes import IGNORE, LabelSpace, load_label_space
from training.data.picture_pixels import Range
from training.data.samples import Dataset, check_no_overlap
from training.data.sampling import evenly_spaced
from training.data.streetsim.frames import ensure_frames
from training.errors import UserError
from training.settings import Domain, Experiment

HOME_IMAGES = 100  # held-out source images where none are named: training images, at most
LABELS_CHECKED = 500  # for a labelled pixel, at most: the first that has one ends it
PRIOR_LABELS = 500  # source labels that class shares are counted from, at most


@dataclass(frozen=True)
class Domains:
    """The data sets of an experiment; what it does not have is None."""

    label_space: LabelSpace
    warm_up: Dataset  # labelled: the source, or the target for the oracle
    source: Dataset
    target: Dataset  # without labels, whatever its files hold
    evaluation: Dataset | None
    source_evaluation: Dataset  # held-out source images; some of the training images where none are named

    @cached_property
    def source_shares(self) -> np.ndarray:
        """Class shares of the source labels, float64 `[classes]`, from evenly spaced labels."""
        counts = np.zeros(256, np.int64)
        for label in source_labels(self.source):
            counts += np.bincount(label.ravel(), minlength=256)
        counts = counts[: self.label_space.count]
        return counts / max(counts.sum(), 1)


def source_labels(source: Dataset, most: int = PRIOR_LABELS):
    """Train-id labels, evenly spaced over the data set."""
    for index in evenly_spaced(len(source), most):
        yield source.read_label(int(index))


def load_domains(experiment: Experiment) -> Domains:
    """Find, check and, for streetsim, render every data set of the experiment.

    Raises:
        UserError: a folder is missing or odd, the target overlaps the evaluation images, or the oracle has no labels.
    """
    data, oracle = experiment.data, experiment.recipe.warm_up.domain == "target"
    space = load_label_space(data.label_space)
    share = experiment.labelled_share
    target = load_domain(data.target, space, data.size, labelled=True if oracle or share else None)
    if (oracle or share) and not target.labelled:
        asking = "the oracle recipe" if oracle else "--labelled-share"
        place = ": put them into labels/ beside images/" if data.target.reader == "images" else ""
        raise UserError(f"{asking} trains on target labels, but the target '{target.name}' has none{place}")
    evaluation = evaluation_of(experiment, target.sixteen_bit_range)
    if evaluation is not None:
        check_no_overlap(target, evaluation)
    if share:
        source, target = split_labelled(target, share, experiment.seed)
    else:
        source = load_domain(data.source, space, data.size)
    require_labelled_pixels(target if oracle else source, "The data to train on", "")
    source_evaluation = None
    if not share and data.source_evaluation is not None:
        source_evaluation = load_domain(data.source_evaluation, space, data.size, True, source.sixteen_bit_range)
        require_labelled_pixels(source_evaluation, "The held-out images of the source", "")
    return Domains(
        label_space=space,
        warm_up=target if oracle else source,
        source=source,
        target=target.without_labels(),
        evaluation=evaluation,
        source_evaluation=source_evaluation or source.evenly_spaced(HOME_IMAGES),
    )


def split_labelled(target: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """`(labelled part, rest)` of a labelled target: a random `share` of its images, the same for the same seed.

    Raises:
        UserError: one of the two would be empty.
    """
    count = round(share * len(target))
    if not 0 < count < len(target):
        raise UserError(f"--labelled-share {share:g} of {len(target)} target images leaves one part empty")
    order = np.random.default_rng(seed).permutation(len(target))
    labelled, rest = target.subset(np.sort(order[:count])), target.subset(np.sort(order[count:]))
    return replace(labelled, name=f"{target.name} ({count} labelled)"), rest


def evaluation_of(experiment: Experiment, sixteen_bit_range: Range | None = None) -> Dataset | None:
    """The labelled target images of an experiment, or None where it has none; 16-bit ones stretched as the target's.

    Raises:
        UserError: also where no pixel has a label.
    """
    data = experiment.data
    domain = _evaluation(data.evaluation, data.target)
    if domain is None:
        return None
    evaluation = load_domain(domain, load_label_space(data.label_space), data.size, True, sixteen_bit_range)
    require_labelled_pixels(evaluation, "The evaluation data", ", or leave them out (a run needs none)")
    return evaluation


def require_labelled_pixels(dataset: Dataset, what: str, otherwise: str) -> None:
    """Refuse labelled data in which no pixel has a class; up to LABELS_CHECKED labels are looked at, evenly spaced.

    Args:
        what: the data in words. otherwise: what else can be done than to mend the labels.

    Raises:
        UserError: no pixel has a class; or a label among those looked at is damaged or holds unknown ids.
    """
    if any((label != IGNORE).any() for label in source_labels(dataset, LABELS_CHECKED)):
        return
    first, checked = dataset.samples[0].label, min(len(dataset), LABELS_CHECKED)
    raise UserError(
        f"{what} '{dataset.name}' have no labelled pixel: each of the {checked} labels looked at holds only ignored "
        f"pixels (such as {first}). Give labels with class ids{otherwise}; a number that stands for a class, even 255, "
        'can be named in "raw_ids" of a label space of your own.'
    )


def load_domain(
    domain: Domain, space: LabelSpace, size, labelled: bool | None = True, sixteen_bit_range: Range | None = None
) -> Dataset:
    """The data set of one domain.

    Args:
        labelled: True = labels are required, None = they are taken where the data set has them (a target).
        sixteen_bit_range: what 16-bit images are stretched from; None = found from their own values.
    """
    found = _found_domain(domain, space, size, labelled)
    return found if domain.reader == "streetsim" else found.with_sixteen_bit_range(sixteen_bit_range)


def _found_domain(domain: Domain, space: LabelSpace, size, labelled: bool | None) -> Dataset:
    """The data set of one domain as its reader gives it."""
    if domain.reader == "streetsim":
        folder = ensure_frames(domain.style, domain.split, domain.count, size, domain.seed)
        frames = datasets.streetsim(folder, domain.count, space)
        return replace(frames, name=f"streetsim {domain.style} {domain.split}")
    if domain.root is None:
        raise UserError(f"the data set '{domain.reader}' needs a folder: give --source-root or --target-root")
    root = Path(domain.root).expanduser()
    reader = getattr(datasets, domain.reader if domain.reader != "images" else "image_folder")
    if domain.reader == "cross_city":
        return reader(root, domain.city, domain.split, space, labelled)
    if domain.reader in ("cityscapes", "bdd100k", "robotcar", "camvid"):
        return reader(root, domain.split, space, labelled)
    places = (root, root.parent) if root.name == "images" else (root,)
    if domain.reader == "images" and labelled and (place := _first_labelled(*places)) is not None:
        return datasets.folders(place, space)
    return reader(root, space)


def _first_labelled(*folders: Path) -> Path | None:
    """The first of the folders that holds images/ and labels/."""
    return next((each for each in folders if (each / "images").is_dir() and (each / "labels").is_dir()), None)


def _evaluation(evaluation: Domain | None, target: Domain) -> Domain | None:
    """The labelled images to score on: those named, or a CamVid-like `val` beside the target's `train/images`."""
    if evaluation is not None or target.reader != "images" or target.root is None:
        return evaluation
    root = Path(os.path.realpath(Path(target.root).expanduser()))
    beside = _first_labelled(root.parent.parent / "val", root.parent / "val")
    return beside and Domain(reader="folders", root=str(beside))
