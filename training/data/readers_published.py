"""Readers of the public street data sets, in the layout and with the label files in which their authors publish them.

Every reader takes a label space and composes the data set's ids with it. `labelled` True demands
the labels, False leaves them unread, None takes them if their folder is there: a target needs none.
"""

from pathlib import Path

from training.data.classes import CITYSCAPES_NAMES, IGNORE, LabelSpace
from training.data.readers import (
    differing_pairs,
    files_by_key,
    first_folder,
    label_folder,
    label_id_decoder,
    pair_folders,
    paired,
    required,
    through_cityscapes,
    train_id_decoder,
)
from training.data.samples import Dataset, LabelDecoder, Sample, listing
from training.errors import UserError
from training.progress import say_once

CITYSCAPES_SUFFIXES = CITYSCAPES_LABELS, CITYSCAPES_TRAIN_IDS = "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"

CITIES = ("Rome", "Rio", "Tokyo", "Taipei")

SYNTHIA_CLASSES = (
    "void", "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "traffic sign", "person",
    "bicycle", "motorcycle", "parking slot", "road work", "traffic light", "terrain", "rider", "truck", "bus", "train",
    "wall", "lane marking",
)  # fmt: skip
SYNTHIA_IDS = {
    raw: CITYSCAPES_NAMES.index(name) if name in CITYSCAPES_NAMES else IGNORE
    for raw, name in enumerate(SYNTHIA_CLASSES)
}
"""SYNTHIA-RAND-CITYSCAPES id -> Cityscapes train id or IGNORE, paired by class name."""

ROBOTCAR_IDS = {
    **dict.fromkeys(range(34), IGNORE),
    **{1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 10: 7},
    **dict.fromkeys((11, 12, 13, 14, 17), 8),  # road and what is painted on it
}
"""Oxford RobotCar annotation id -> robotcar9 id or IGNORE."""


def gta5(root: Path | str, label_space: LabelSpace, labelled: bool | None = True) -> Dataset:
    """GTA5 (Richter et al. 2016): `images/00001.png`, `labels/00001.png`, palette PNGs of Cityscapes labelIDs.

    A few published frames have labels of another size than the image; no label can be trusted there, so they are left
    out. The notes name them, and tell of frames of several sizes.
    """
    image_root = first_folder(Path(root), ["images"], "the images of GTA5")
    label_root = label_folder(Path(root), "labels", "the labels of GTA5", labelled)
    labels = None if label_root is None else files_by_key(label_root)
    samples, notes = _gta5_usable(paired(files_by_key(image_root), labels, image_root, label_root))
    for note in notes:
        say_once(note)
    return Dataset("gta5", samples, label_space, label_id_decoder(label_space, "GTA5"), notes=notes)


def _gta5_usable(samples: tuple[Sample, ...]) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """The frames whose labels fit, and what is to be said of the others and of the sizes."""
    samples, differing, sizes = differing_pairs(samples)
    odd, notes = {sample.name for sample, _ in differing}, []
    if odd:
        notes.append(f"GTA5: left out {listing(sorted(odd))} whose label has another size than the image.")
    if len(sizes) > 1:
        counts = ", ".join(f"{count} of {height}x{width}" for (height, width), count in sizes.most_common())
        notes.append(f"GTA5: frames of several sizes (height x width), all brought to the training size: {counts}.")
    usable = tuple(sample for sample in samples if sample.name not in odd)
    if not usable:
        raise UserError(f"{differing[0][1]} (All {len(samples)} frames of GTA5 are like this.)")
    return usable, tuple(notes)


def synthia(root: Path | str, label_space: LabelSpace, labelled: bool | None = True) -> Dataset:
    """SYNTHIA-RAND-CITYSCAPES (Ros et al. 2016): `RGB/*.png`, `GT/LABELS/*.png`, ids in channel 0 of 16-bit PNGs.

    `root` may hold the folder RAND_CITYSCAPES as it is packed.
    """
    image_root = first_folder(Path(root), ["RGB", "RAND_CITYSCAPES/RGB"], "the images of SYNTHIA-RAND-CITYSCAPES")
    label_root = label_folder(image_root.parent, "GT/LABELS", "the labels of SYNTHIA-RAND-CITYSCAPES", labelled)
    decode = through_cityscapes(SYNTHIA_IDS, label_space, "SYNTHIA", kind="synthia")
    return Dataset("synthia", pair_folders(image_root, label_root), label_space, decode)


def cityscapes(root: Path | str, split: str, label_space: LabelSpace, labelled: bool | None = True) -> Dataset:
    """Cityscapes, fine annotation (Cordts et al. 2016): `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and
    `gtFine/<split>/<city>/*_gtFine_labelIds.png`, in `root` or in the folders that the archives unpack to.

    Where there are only `*_gtFine_labelTrainIds.png`, which the authors' tools write, these are read.
    """
    root = Path(root)
    _check_split(split, ("train", "val", "test"), "Cityscapes")
    image_root = first_folder(root, _archived("leftImg8bit", split), f"the {split} images of Cityscapes")
    label_root = label_folder(root, _archived("gtFine", split), f"the {split} labels of Cityscapes", labelled)
    decode, suffix, notes = label_id_decoder(label_space, "Cityscapes"), CITYSCAPES_LABELS, ()
    if label_root is not None and not files_by_key(label_root, CITYSCAPES_LABELS):
        required(files_by_key(label_root, CITYSCAPES_TRAIN_IDS), label_root, "labels", *CITYSCAPES_SUFFIXES)
        decode, suffix = train_id_decoder(label_space, "Cityscapes"), CITYSCAPES_TRAIN_IDS
        notes = (f"The labels in {label_root} are the files *{suffix}: there is no *{CITYSCAPES_LABELS}.",)
        say_once(notes[0])
    samples = pair_folders(image_root, label_root, suffix, "_leftImg8bit.png")
    return Dataset(f"cityscapes {split}", samples, label_space, decode, notes=notes)


def _archived(part: str, split: str) -> tuple[str, str]:
    return f"{part}/{split}", f"{part}_trainvaltest/{part}/{split}"


def bdd100k(root: Path | str, split: str, label_space: LabelSpace, labelled: bool | None = True) -> Dataset:
    """BDD100K, the 10k segmentation images (Yu et al. 2020), Cityscapes train ids.

    Reads `images/10k/<split>` + `labels/sem_seg/masks/<split>`, or the older `seg/images/<split>` +
    `seg/labels/<split>/*_train_id.png`, in `root` or in `root/bdd100k`.
    """
    _check_split(split, ("train", "val", "test"), "BDD100K")
    what = f"the {split} images of BDD100K"
    base = first_folder(Path(root), ["bdd100k", "."], what)
    image_root = first_folder(base, [f"images/10k/{split}", f"seg/images/{split}"], what)
    older = image_root.parent.parent.name == "seg"
    labels = f"seg/labels/{split}" if older else f"labels/sem_seg/masks/{split}"
    label_root = label_folder(base, labels, f"the {split} labels of BDD100K", labelled)
    samples = pair_folders(image_root, label_root, "_train_id.png" if older else ".png")
    return Dataset(f"bdd100k {split}", samples, label_space, train_id_decoder(label_space, "BDD100K"))


def cross_city(
    root: Path | str, city: str, split: str, label_space: LabelSpace, labelled: bool | None = None
) -> Dataset:
    """NTHU Cross-City (Chen et al. 2017): `<City>/Images/Train` without labels, `<City>/Images/Test` with
    `<City>/Labels/Test/*_eval.png` of Cityscapes labelIDs. `root` may hold the folder NTHU_Datasets.

    Args:
        city: Rome, Rio, Tokyo or Taipei.
        split: "train" or "test".
        labelled: None = the test split has labels, the training split has none.
    """
    names = {name.lower(): name for name in CITIES}
    if city.lower() not in names:
        raise UserError(f"Unknown city '{city}' of NTHU Cross-City: choose {', '.join(CITIES)}.")
    _check_split(split, ("train", "test"), "NTHU Cross-City")
    city, part = names[city.lower()], split.capitalize()
    base = first_folder(Path(root), [city, f"NTHU_Datasets/{city}"], f"{city} of NTHU Cross-City")
    image_root = first_folder(base, [f"Images/{part}"], f"the {split} images of {city}")
    labelled = split == "test" if labelled is None else labelled
    label_root = label_folder(base, f"Labels/{part}", f"the {split} labels of {city}", labelled)
    samples = pair_folders(image_root, label_root, "_eval.png")
    decode = label_id_decoder(label_space, "NTHU Cross-City")
    return Dataset(f"cross_city {city} {split}", samples, label_space, decode)


def robotcar(root: Path | str, split: str, label_space: LabelSpace, labelled: bool | None = None) -> Dataset:
    """Oxford RobotCar with the segmentation labels of the MRNet authors: `train/` (894 images, unlabelled), `val/`
    (271 images) and `anno/` (labels of val, same file names).

    Args:
        split: "train" or "val".
        labelled: None = the validation split has labels, the training split has none.

    Raises:
        UserError: also if the label space is not robotcar9: the annotation knows no other classes.
    """
    _check_split(split, ("train", "val"), "Oxford RobotCar")
    if label_space.name != "robotcar9":
        raise UserError(
            f"The labels of Oxford RobotCar can only be read as 'robotcar9', not as '{label_space.name}': "
            "use --classes robotcar9."
        )
    image_root = first_folder(Path(root), [split], f"the {split} images of Oxford RobotCar")
    labelled = split == "val" if labelled is None else labelled
    label_root = label_folder(Path(root), "anno", "the labels of Oxford RobotCar", labelled)
    decode = LabelDecoder.from_mapping("ids", ROBOTCAR_IDS)
    return Dataset(f"robotcar {split}", pair_folders(image_root, label_root), label_space, decode)


def _check_split(split: str, splits: tuple[str, ...], data_set: str) -> None:
    if split not in splits:
        raise UserError(f"{data_set} has no split '{split}': choose {', '.join(splits)}.")
