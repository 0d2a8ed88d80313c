"""From `settings.Domain` descriptions to data sets: the one place that knows which reader serves which name."""

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from training.data import datasets
from training.data.classes import IGNORE, LabelSpace, load_label_space
from training.data.picture_pixels import Range
from training.data.readers import MissingFolder, own_id_decoder
from training.data.samples import Dataset, check_no_overlap, listing, shared_images
from training.data.sampling import evenly_spaced
from training.data.streetsim.frames import ensure_frames
from training.distribution.threads import in_order
from training.errors import UserError, printable
from training.progress import Meter
from training.settings.data import Domain
from training.settings.experiment import Experiment

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

    notes: tuple[str, ...] = ()  # what could not be had, in sentences

    @cached_property
    def warm_up_table(self) -> np.ndarray:
        """`count_labels` of those of the labels that the warm-up learns from which are `looked_at`."""
        return count_labels(self.warm_up, looked_at(self.warm_up))

    @cached_property
    def source_table(self) -> np.ndarray:
        """`count_labels` of the source labels that are `looked_at`."""
        return self.warm_up_table if self.warm_up is self.source else count_labels(self.source, looked_at(self.source))

    @cached_property
    def warm_up_counts(self) -> np.ndarray:
        """Pixels of each train id, 255 too, in the labels that the warm-up learns from: int64 `[256]`."""
        return self.warm_up_table.sum(axis=0)

    @cached_property
    def source_shares(self) -> np.ndarray:
        """Class shares of the source labels, float64 `[classes]`, from evenly spaced labels."""
        counts = self.source_table.sum(axis=0)[: self.label_space.count]
        return counts / max(counts.sum(), 1)

    @property
    def all_source_labels_counted(self) -> bool:
        """Are `source_shares` of all labels? Else a class that they lack may be in one of the others."""
        return len(self.source_table) == len(self.source)

    @property
    def unseen_classes(self) -> list[str]:
        """Names of the classes that no label shows which the warm-up learns from: nothing teaches them."""
        return [name for name, count in zip(self.label_space.names, self.warm_up_counts, strict=False) if not count]

    def as_sentences(self) -> list[str]:
        """What the run works with, and what a reader should know of it before anything is trained."""
        evaluation = self.evaluation
        scored = f"evaluation: {_counted(evaluation)}" if evaluation is not None else "no labelled images of the target"
        first = f"Source: {_counted(self.source)}; target: {_counted(self.target)}; {scored}"
        ignored = bool(self.warm_up_counts[IGNORE])
        unseen = unseen_sentence(self.unseen_classes, self.warm_up, len(self.warm_up_table), ignored)
        return [printable(sentence) for sentence in (first, *self.notes, unseen) if sentence]

    @property
    def image_counts(self) -> dict[str, int]:
        """How many images each domain has; `evaluation` is 0 where there is none."""
        parts = {"source": self.source, "target": self.target, "evaluation": self.evaluation}
        return {name: 0 if dataset is None else len(dataset) for name, dataset in parts.items()}

    @property
    def all_notes(self) -> list[str]:
        """The notes of the domains' readers and its own, each once."""
        parts = (each for each in (self.source, self.target, self.evaluation) if each is not None)
        return list(dict.fromkeys([note for each in parts for note in each.notes] + list(self.notes)))


def _counted(dataset: Dataset) -> str:
    return f"{len(dataset)} image{'s' * (len(dataset) != 1)} ({dataset.name})"


def unseen_sentence(names: list[str], dataset: Dataset, labels: int, has_ignored: bool) -> str | None:
    """Which classes none of the labels looked at shows, and what may be the reason; None where each is shown.

    Args:
        names: of these classes. labels: how many were looked at. has_ignored: do they hold the id 255?
    """
    if not names:
        return None
    looked = f"the {labels} labels" if labels == len(dataset) else f"{labels} of the {len(dataset)} labels"
    sentence = f"No pixel of class {', '.join(names)} in {looked} of {dataset.name}: nothing teaches it"
    own = dataset.decode == own_id_decoder(dataset.label_space)
    if not has_ignored or not own or IGNORE in dict(dataset.decode.lookup):
        return f"{sentence}."
    first = dataset.label_space.names.index(names[0])
    return (
        f"{sentence}. Their pixels of 255 are ignored: is 255 meant to be {names[0]}? Then say so in the JSON file of "
        f'your label space: "raw_ids": {{"255": {first}, ...}}, every other id of the files with its class beside it.'
    )


def source_labels(source: Dataset, most: int = PRIOR_LABELS):
    """Train-id labels, evenly spaced over the data set."""
    for index in evenly_spaced(len(source), most):
        yield source.read_label(int(index))


def looked_at(dataset: Dataset) -> np.ndarray:
    """Indices of the labels that class shares are counted from: up to PRIOR_LABELS, evenly spaced."""
    return evenly_spaced(len(dataset), PRIOR_LABELS)


def count_labels(dataset: Dataset, indices: np.ndarray, meter: Meter | None = None) -> np.ndarray:
    """Pixels of each train id, 255 too, in each of these labels at their own size: int64 `[len(indices), 256]`.

    Several threads read. meter: shows how many are done.

    Raises:
        UserError: a label is damaged or holds unknown ids.
    """
    counts = np.zeros((len(indices), 256), np.int64)

    def count(row: int) -> None:
        counts[row] = np.bincount(dataset.read_label(int(indices[row])).ravel(), minlength=256)

    for _ in in_order(count, ((row,) for row in range(len(indices)))):
        if meter is not None:
            meter.advance()
    return counts


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
    notes = []
    try:
        evaluation = evaluation_of(experiment, target.sixteen_bit_range)
        if evaluation is not None:
            check_no_overlap(target, evaluation)
    except UserError as error:
        evaluation = None
        if data.evaluation is None:  # found beside the target, not asked for
            notes.append(f"The run goes on without figures on the target, for val beside it is of no use: {error}")
        elif isinstance(error, MissingFolder) and _is_split_of_target(data.evaluation, data.target):
            notes.append(f"The run goes on without figures on the target, for its labelled part is not there: {error}")
        else:
            raise
    if share:
        source, target = split_labelled(target, share, experiment.seed)
    else:
        source = load_domain(data.source, space, data.size)
    require_labelled_pixels(target if oracle else source, "The data to train on", "")
    if evaluation is not None and not oracle and (shared := shared_images(source, evaluation)):
        notes.append(
            f"The source '{source.name}' shares {listing(shared)} with the evaluation data '{evaluation.name}': the "
            "figures tell how well the model knows images whose labels it has learned, not how well it does on new ones"
        )
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
        notes=tuple(notes),
    )


def _is_split_of_target(evaluation: Domain | None, target: Domain) -> bool:
    """Is it another part of the download that the target is of, and not what the user named?"""
    return evaluation is not None and (evaluation.reader, evaluation.root) == (target.reader, target.root)


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
    if domain.reader == "streetsim":
        return found
    few = found if domain.count is None else found.evenly_spaced(domain.count)
    return few.with_sixteen_bit_range(sixteen_bit_range)


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
    if not root.is_dir():  # a list or a pattern
        return None
    places = (root.parent.parent, root.parent) if root.name == "images" else (root.parent,)
    beside = _first_labelled(*(place / "val" for place in places))
    if beside in (root, root.parent):  # the target itself
        return None
    return beside and Domain(reader="folders", root=str(beside), count=target.count)
