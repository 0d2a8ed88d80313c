"""The images of a run are those it began with, whatever happens in the user's folders until it is resumed.

Order, thresholds and labels of all rounds depend on the list. So it is written down at the start; a file that is gone
is named, and files that came later are told of and left alone. Before it is written the pictures are looked at: target
photos that cannot be used are left out, for good. The built-in streets need none of it: they never change.
"""

import json
from dataclasses import replace
from pathlib import Path

from training.data.domains import HOME_IMAGES, Domains
from training.data.picture_check import check_labelled, usable_photos
from training.data.picture_pixels import Range
from training.data.samples import Dataset, Sample, listing
from training.errors import UserError
from training.files.atomic import write_atomically
from training.files.reading import read_json
from training.progress import console
from training.settings.experiment import Experiment

RANGES, LEFT_OUT, NOTES = "sixteen_bit_ranges", "left_out", "notes"
"""Beside the lists: the range of 16-bit images, the photos left out at the start, and what was said of the photos."""


def with_fixed_lists(domains: Domains, experiment: Experiment, path: Path) -> Domains:
    """`domains` with the lists in the file `path`, which is written where it is not there yet.

    Raises:
        UserError: images are gone, or the file is damaged; at the start: a labelled picture, or every photo of the
            target, cannot be used.
    """
    found = _in_folders(domains, experiment)
    if not found and not path.exists():
        return domains
    if not path.exists():
        return _begun(domains, found, experiment.data.size, path)
    recorded = read_json(path)
    if "evaluation" in found and "evaluation" not in recorded:
        console.print(f"{found.pop('evaluation').name} came after this run began: it goes on without figures on it")
        domains = replace(domains, evaluation=None)
    if lost := recorded.keys() - found.keys() - {RANGES, LEFT_OUT, NOTES}:
        raise UserError(
            f"The {min(lost)} images that this run began with cannot be found: put them back, or start a new run (the "
            f"list is {path})"
        )
    kept = {
        name: replace(
            data_set,
            samples=_turned_as(data_set, _samples(recorded.get(name), path)),
            sixteen_bit_range=_range(recorded, name, path),
        )
        for name, data_set in found.items()
    }
    _check(kept, found, {Path(image) for image in _texts(recorded, LEFT_OUT, path)}, path)
    notes = (*domains.notes, *_texts(recorded, NOTES, path))
    return replace(domains, **kept, **_derived(kept, experiment), notes=notes)


def _begun(domains: Domains, found: dict[str, Dataset], size: tuple[int, int], path: Path) -> Domains:
    """`domains` with the pictures that can be used, whose lists are written to the file `path`."""
    # 1. What trains or scores must be whole; of the unlabelled photos those that are.
    looked = [check_labelled(data_set, size) for name, data_set in found.items() if name != "target"]
    kept, notes = dict(found), tuple(note for note in looked if note)
    if "target" in found:
        kept["target"], of_target = usable_photos(found["target"], size)
        domains, notes = replace(domains, target=kept["target"]), (*notes, *of_target)
    domains = replace(domains, notes=(*domains.notes, *notes))
    # 2. The lists, and what a resumed run must know of the rest.
    before, now = ({sample.image for each in sets.values() for sample in each.samples} for sets in (found, kept))
    content = {name: _rows(data_set) for name, data_set in kept.items()}
    content |= {RANGES: {name: data_set.sixteen_bit_range for name, data_set in kept.items()}}
    content |= {LEFT_OUT: sorted(map(str, before - now)), NOTES: notes}
    write_atomically(path, (json.dumps(content) + "\n").encode())
    return domains


def target_range(path: Path) -> Range | None:
    """What the 16-bit images of a run's target are stretched from, as its file `path` keeps it; None: they are not.

    Raises:
        UserError: the file is damaged.
    """
    recorded = read_json(path) if path.exists() else {}
    return _range(recorded, "warm_up" if "warm_up" in recorded else "target", path)


def _range(recorded: dict, name: str, path: Path) -> Range | None:
    ranges = recorded.get(RANGES, {})
    found = ranges.get(name) if isinstance(ranges, dict) else ()
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != 2 or not all(type(n) is int for n in found) or found[0] >= found[1]:
        raise UserError(f"{path} does not hold the range of 16-bit images of this run: start a new run")
    return found[0], found[1]


def _texts(recorded: dict, key: str, path: Path) -> list[str]:
    """What the file holds under this key; earlier versions wrote none."""
    found = recorded.get(key, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise UserError(f"{path} does not hold the images of this run: delete it to take those that are there now")
    return found


def _turned_as(found: Dataset, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The samples with their labels turned as those that were found with the same files."""
    turned = {(each.image, each.label): each.label_orientation for each in found.samples if each.label_orientation > 1}
    return tuple(
        replace(each, label_orientation=turned.get((each.image, each.label), 1)) if turned else each for each in samples
    )


def _in_folders(domains: Domains, experiment: Experiment) -> dict[str, Dataset]:
    """The data sets that somebody may change: of the oracle the target with its labels, `warm_up`."""
    data, oracle = experiment.data, experiment.recipe.warm_up.domain == "target"
    sets = {
        "source": (domains.source, data.target if experiment.labelled_share else data.source),
        "warm_up" if oracle else "target": (domains.warm_up if oracle else domains.target, data.target),
        "evaluation": (domains.evaluation, data.evaluation),
    }
    return {
        name: data_set
        for name, (data_set, domain) in sets.items()
        if data_set is not None and (domain is None or domain.reader != "streetsim")
    }


def _derived(kept: dict[str, Dataset], experiment: Experiment) -> dict[str, Dataset]:
    """What else `load_domains` makes of these."""
    derived = {}
    if "warm_up" in kept:
        derived["target"] = kept["warm_up"].without_labels()
    elif "source" in kept:
        derived["warm_up"] = kept["source"]
    if "source" in kept and (experiment.labelled_share or experiment.data.source_evaluation is None):
        derived["source_evaluation"] = kept["source"].evenly_spaced(HOME_IMAGES)
    return derived


def _rows(dataset: Dataset) -> list[list[str | None]]:
    return [[sample.name, str(sample.image), sample.label and str(sample.label)] for sample in dataset.samples]


def _samples(rows: object, path: Path) -> tuple[Sample, ...]:
    """The samples of a list; names that could lead out of a folder are no names."""
    valid = isinstance(rows, list) and rows and all(_is_row(row) for row in rows)
    if not valid or len({row[0] for row in rows}) < len(rows):
        raise UserError(f"{path} does not hold the images of this run: delete it to take those that are there now")
    return tuple(Sample(name, Path(image), None if label is None else Path(label)) for name, image, label in rows)


def _is_row(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and all(isinstance(text, str) for text in row[:2])
        and isinstance(row[2], str | None)
        and Path(row[0]).name == row[0] != ".."
    )


def _check(kept: dict[str, Dataset], found: dict[str, Dataset], left_out: set[Path], path: Path) -> None:
    """Nothing of the lists may be gone from the disk; what came later is said. `left_out`: neither of both."""
    before, now = (
        {
            file
            for data_set in sets.values()
            for sample in data_set.samples
            for file in (sample.image, sample.label)
            if file
        }
        for sets in (kept, found)
    )
    if gone := sorted(str(file) for file in before - now if not file.is_file()):
        raise UserError(
            f"{listing(gone)} of those this run began with cannot be found: put them back, or start a new run (the "
            f"list is {path})"
        )
    if added := sorted(map(str, now - before - left_out)):
        console.print(f"{listing(added)} came after this run began: it goes on with the images it began with")
