"""What a stage with the second head (DRSL) has to show of its modes: their use, a map of them, and what they show."""

from contextlib import nullcontext

import numpy as np
from scipy.spatial.distance import cdist

from training.data.images import resize_image
from training.data.samples import Dataset
from training.distribution.workers import on_chief
from training.evaluation import formats
from training.evaluation.feature_map import PixelFeatures
from training.evaluation.mode_pictures import (
    ModeMoment,
    hardest_classes,
    nearest_pixels,
    patch_around,
    write_mode_map,
    write_mode_patches,
)
from training.methods.method import Method
from training.methods.mixture import MixtureHead, mixture_head
from training.methods.modes import usage
from training.run_directory.checkpoint import load_lasting
from training.stages.modes import (
    EmbeddedPixels,
    begin_modes,
    figures_of,
    go_on_with_modes,
    modes_in_use,
    some_pixels,
    usage_images,
)
from training.stages.stage import Run, Stage

PATCHED = ("car", "building", "vegetation")  # classes whose modes are shown by patches; if there are none, common ones
PATCHES = 5  # per mode and domain
PATCH_SHARE = 0.25  # side of a patch, of the image's height


class ModesReport:
    """Made before a stage is trained, of head and network as they are then."""

    def __init__(self, run: Run, stage: Stage, head: MixtureHead):
        self.run, self.stage, self.head = run, stage, head
        self.restarts = np.asarray(head.restarts)
        self.before = self._moment(self._pixels())

    @classmethod
    def begun(cls, run: Run, stage: Stage, method: Method, first: bool = True) -> "ModesReport | None":
        """Give the head of a method its modes; None where it has no head.

        first: False of a later part of a training, which goes on with modes and student of the part before as they are.
        """
        head = mixture_head(method.terms)
        if head is None:
            return None
        if first:
            begin_modes(run, stage, head)
        else:
            go_on_with_modes(run, stage, head)
            load_lasting(run.directory.lasting(run.previous(stage).name), {"student": run.network.weights})
        return cls(run, stage, head)

    def figures(self) -> dict:
        """After the stage; writes both pictures.

        Returns:
            {"modes": see `figures_of`}, with "source" and "target". The target's classes are those that the network
            predicts.
        """
        pixels = self._pixels()
        on_chief(lambda: self._draw(pixels))
        return {"modes": figures_of(self.run, self.head, pixels, self.restarts)}

    def _pixels(self) -> dict[str, EmbeddedPixels]:
        """Each domain as the network sees it."""
        pixels, run = {}, self.run
        for name, dataset in self._domains().items():
            with run.source_statistics(self.stage) if name == "source" else nullcontext():
                pixels[name] = some_pixels(run, self.head, dataset)
        return pixels

    def _domains(self) -> dict[str, Dataset]:
        domains = self.run.domains
        return {"source": domains.source, "target": domains.target.without_labels()}

    def _moment(self, pixels: dict[str, EmbeddedPixels]) -> ModeMoment:
        domains = {name: PixelFeatures(each.values, each.label) for name, each in pixels.items()}
        return ModeMoment(domains, modes_in_use(self.head))

    def _draw(self, pixels: dict[str, EmbeddedPixels]) -> None:
        space, (of_map, of_patches) = self.run.domains.label_space, self.run.directory.mode_pictures(self.stage.name)
        after = self._moment(pixels)
        classes = hardest_classes(self.before.domains["source"], self.before.modes)
        if classes:
            moments = {f"before {self.stage.name}": self.before, f"after {self.stage.name}": after}
            write_mode_map(of_map, moments, classes, space)
        shown = [space.names.index(name) for name in PATCHED if name in space.names]
        counts = np.bincount(pixels["source"].label, minlength=space.count)
        shown = shown or [int(number) for number in np.argsort(-counts, kind="stable")[:3]]
        shares = {name: usage(each.values, each.label, after.modes) for name, each in pixels.items()}
        rows = [
            (self._title(shares, number, mode), self._patches(pixels, after.modes, number, mode))
            for number in shown
            for mode in range(after.modes.shape[1])
        ]
        write_mode_patches(of_patches, rows)

    def _title(self, shares: dict[str, list[np.ndarray | None]], number: int, mode: int) -> str:
        """Class, number of the mode, and its share of each domain's pixels of the class."""
        percent = [formats.UNKNOWN if of[number] is None else f"{100 * of[number][mode]:.0f}" for of in shares.values()]
        return f"{self.run.domains.label_space.names[number]} {mode + 1}\n{' / '.join(percent)} %"

    def _patches(self, pixels: dict[str, EmbeddedPixels], modes: np.ndarray, number: int, mode: int) -> dict:
        """Around the pixels of a class that are nearest to one of its modes, by domain."""
        side, found = int(PATCH_SHARE * self.run.size[0]), {}
        for name, dataset in self._domains().items():
            each, part = pixels[name], usage_images(dataset)
            squared = cdist(each.values, modes[number], "sqeuclidean")
            mine = np.flatnonzero((each.label == number) & (squared.argmin(axis=1) == mode))
            nearest = mine[nearest_pixels(squared[mine, mode], each.image[mine], PATCHES)]
            pictures = [resize_image(part.read_image(int(each.image[index])), self.run.size) for index in nearest]
            places = zip(pictures, nearest, strict=True)
            found[name] = [patch_around(image, each.row[index], each.column[index], side) for image, index in places]
        return found
