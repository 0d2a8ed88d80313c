"""Label files that are called after their image with an ending: labels/NAME_labelIds.png beside images/NAME.jpg."""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from training.data.classes import CITYSCAPES_NAMES, LABEL_SPACES, LabelSpace
from training.data.photo_folders import IMAGE_ENDINGS, LABEL_PREFIXES
from training.errors import UserError

ID_ENDINGS = frozenset(
    ("_labelids", "_labeltrainids", "_labellevel3ids", "_labelcstrainids", "_trainids", "_train_id", "_train_ids")
    + ("_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_semantic", "_gt", "_groundtruth", "_id")
    + ("_ids", "_eval", "_l", "_p", "_annotation")
)
"""In small letters, what files of class ids have behind the name of their image; pictures of them, such as _color, and
instance numbers have other endings."""

NUMBERS_OF_ENDING = {
    "_labelIds": "cityscapes19_ids",
    "_labelTrainIds": "cityscapes19",
    "_trainIds": "cityscapes19",
    "_train_id": "cityscapes19",
    "_labelcsTrainIds": "cityscapes19",  # the tools of IDD
    "_labelids": "idd",
    "_labellevel3Ids": "idd_level3",
}
"""The label space whose numbers files of an ending hold, by the tools that write such names."""

_TOLD_BY_ENDING = ("cityscapes19", "cityscapes19_ids", "idd", "idd_level3")


class Endings(NamedTuple):
    """What the names of images and of their label files have behind the name that they share."""

    image: str = ""
    label: str = ""


def endings_of(images: Collection[str], labels: Collection[str]) -> Endings:
    """The endings by which labels belong to images; none where names agree, or where nothing fits.

    Args:
        images, labels: names, or paths below their folders, without suffix.

    Raises:
        UserError: there are several kinds of labels for the images.
    """
    for image_ending in IMAGE_ENDINGS:
        if not all(image.endswith(image_ending) for image in images):
            continue
        names = {image.removesuffix(image_ending) for image in images}
        found = Counter(ending for ending in (_ending(label, names) for label in labels) if ending is not None)
        fitting = [ending for ending in found if not ending or _holds_ids(ending)]
        fitting = fitting or [ending for ending, count in found.items() if count == len(names) and ending[0] in "_-. "]
        if len(fitting) > 1:
            kinds = ", ".join(f"NAME{ending} ({found[ending]})" for ending in sorted(fitting))
            raise UserError(
                f"There are several label files for an image NAME{image_ending} ({kinds}): leave one kind in labels/."
            )
        if fitting:
            return Endings(image_ending, fitting[0])
    return Endings()


def _ending(label: str, names: set[str]) -> str | None:
    """What a label has behind the longest name that it begins with; None = it begins with none."""
    for end in range(len(label), 0, -1):
        if label[:end] in names:
            return label[end:]
    return None


def _holds_ids(ending: str) -> bool:
    return _without_prefix(ending).lower() in ID_ENDINGS


def _without_prefix(ending: str) -> str:
    return next((ending.removeprefix(prefix) for prefix in LABEL_PREFIXES if ending.startswith(f"{prefix}_")), ending)


def space_of_ending(ending: str, label_space: LabelSpace) -> LabelSpace:
    """The label space whose numbers files of this ending hold, where the ending tells of the 19 Cityscapes classes.

    Raises:
        UserError: it may be IDD's or Cityscapes' own, and train ids were asked for.
    """
    told = NUMBERS_OF_ENDING.get(_without_prefix(ending))
    asked = label_space.name in _TOLD_BY_ENDING and label_space.names == CITYSCAPES_NAMES
    if told is None or not asked:
        return label_space
    if told == "idd" and label_space.name == "cityscapes19":
        raise UserError(
            f"Label files *{ending} may hold ids of IDD or of Cityscapes: say which with --classes idd, or --classes "
            "cityscapes19_ids."
        )
    return label_space if told == "idd" and label_space.name == "cityscapes19_ids" else LABEL_SPACES[told]
