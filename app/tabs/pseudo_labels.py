"""The third tab: which pixels of some target photos the next round would be trained on, and each class' threshold."""

import hashlib
import json
import zipfile
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.context import PageContext
from app.drawing import STRONG_OPACITY, jpeg, label_png, written
from app.endpoints import LONG, endpoint, file_data, on_page, uploads_of
from app.limits import PROBABILITY_SIDE, PSEUDO_LABEL_PHOTOS
from app.pseudo_labelling import pseudo_label, usable_selectors
from app.tables import percent, thresholds
from app.tabs.parts import example_button, files_input
from app.uploads import Photo, Upload, range_for, read_photo
from training.data.classes import IGNORE
from training.errors import UserError
from training.evaluation.mixture_chart import manifest_chart
from training.evaluation.panels import overlay
from training.prediction.label_files import MANIFEST_NAME, picture_name
from training.prediction.label_images import LabelledImages, LabelsInMemory
from training.pseudo_labels.registry import choices

USUAL, PORTION, STRIDE = "cbst", 0.2, 4
LARGEST_STRIDE = 64


class PseudoLabelsTab:
    """The last round's selector and portion, where the model's metadata tell them, are what the tab starts with."""

    def __init__(self, context: PageContext):
        self.context = context
        self.space = context.model.space
        self.digest = hashlib.sha256(context.model.path.read_bytes()).hexdigest()
        self._layout()
        self._connect()

    def _layout(self) -> None:
        selection = self.context.model.metadata.selection
        known = {} if selection is None else selection.fitted.selector.parameters
        shown = {} if selection is None else selection.fitted.selector.shown_parameters
        portion = next(iter(shown.values()), PORTION)
        stride = min(known.get("stride", STRIDE), LARGEST_STRIDE)
        with gr.Row(elem_classes="work"):
            with gr.Column(scale=3, min_width=280):
                gr.HTML(f'<p class="note">{_explanation()}</p>', padding=False)
                self.photos = files_input("pseudo-photos", "Target photos (several at once)")
                example_button(self.context, self.photos, "pseudo-examples")
                self.selector = self._selector_input()
                self.portion = gr.Slider(
                    0.01, 1, portion, step=0.01, label="Portion to keep", info=_other_names(), elem_id="portion"
                )
                self.stride = gr.Slider(
                    1,
                    LARGEST_STRIDE,
                    stride,
                    step=1,
                    label="Stride",
                    info=f"Rank every n-th pixel (not used by {_without_stride()})",
                )
                self.run = gr.Button("Find pseudo-labels", variant="primary", elem_id="pseudo-run")
            with gr.Column(scale=5, min_width=320):
                self.gallery = gr.Gallery(
                    label="Kept in colour, ignored in grey", columns=2, height="auto", object_fit="contain",
                    elem_id="pseudo-gallery", interactive=False, buttons=["fullscreen"],
                )  # fmt: skip
                self.archive = gr.DownloadButton("Download labels and manifest (zip)", elem_id="pseudo-zip", size="sm")
            with gr.Column(scale=4, min_width=300):
                self.table = gr.HTML(elem_id="thresholds", padding=False)

    def _selector_input(self) -> gr.Radio:
        usable, selection = usable_selectors(self.context.model), self.context.model.metadata.selection
        chosen = USUAL if selection is None else selection.fitted.selector.name
        chosen = chosen if chosen in usable else USUAL
        selector = gr.Radio(list(usable), value=chosen, label="Selector", elem_id="selector")
        texts = {name: f'<p class="note">{_meaning(name)}{_missing(usable)}</p>' for name in usable}
        meaning = gr.HTML(texts[chosen], padding=False)
        selector.change(None, selector, meaning, js=f"(name) => ({json.dumps(texts)})[name]")
        return selector

    def _connect(self) -> None:
        inputs = [self.photos, self.selector, self.portion, self.stride]
        outputs = [self.table, self.gallery, self.archive]
        self.run.click(**on_page(self.show), inputs=inputs, outputs=outputs, show_progress_on=self.table, **LONG)
        endpoint(self.api, "pseudo_labels", inputs, ["zip"], **LONG)

    def show(self, photos, selector, portion, stride, progress=gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """Table, gallery and zip."""
        photos, found, kept = self._run(uploads_of(photos), selector, portion, stride, progress)
        folder = self.context.results.new()
        archive, manifest = self._archive(photos, kept, folder)
        gallery = self._gallery(photos, kept, folder)
        if "picture" in manifest:
            picture = folder / manifest["picture"]
            gallery.append({"image": file_data(picture), "caption": "How certain the pixels of each class are"})
        return thresholds(found, photos, self.space), gallery, file_data(archive)

    def api(
        self,
        photos,
        selector: str = USUAL,
        portion: float = PORTION,
        stride: int = STRIDE,
        progress=gr.Progress(),  # noqa: B008
    ) -> tuple[dict, dict]:
        """Choose pseudo-labels for several target photos, with a selector that is fitted to all of them.

        The selector ias takes the photos in their order, uses the portion as its alpha and does not use the stride.
        Other parameters are those of the model's last round if that was labelled by the same selector, else the
        published ones.
        The selector entropy_mixture uses neither portion nor stride. Returns the manifest (selector, thresholds, kept
        shares and pixel counts per class) and a zip of it, the label PNGs (train ids, 255 = ignored, each at its
        photo's own size) and, of entropy_mixture, a picture of the modes it found.
        """
        photos, _, kept = self._run(uploads_of(photos), selector, portion, stride, progress)
        archive, manifest = self._archive(photos, kept, self.context.results.new())
        return manifest, file_data(archive)

    def _run(
        self, uploads: list[Upload], selector, portion, stride, progress
    ) -> tuple[list[Photo], LabelledImages, LabelsInMemory]:
        if len(uploads) > PSEUDO_LABEL_PHOTOS:
            raise UserError(f"{len(uploads)} photos are too many at once: send at most {PSEUDO_LABEL_PHOTOS}.")
        _check_numbers(portion, stride)
        limits = range_for(self.context.model.metadata.sixteen_bit_range, uploads)
        photos = [read_photo(upload, PROBABILITY_SIDE, limits) for upload in uploads]
        report = lambda share, what: progress(share, desc=what)  # noqa: E731
        return photos, *pseudo_label(self.context.model, photos, selector, portion, int(stride), report)

    def _gallery(self, photos: list[Photo], kept: LabelsInMemory, folder: Path) -> list[dict[str, Any]]:
        shown = []
        for photo, (stem, label) in zip(photos, kept.labels.items(), strict=True):
            picture = written(
                folder / f"{stem}_kept.jpg", jpeg(overlay(photo.image, label, self.space, STRONG_OPACITY))
            )
            caption = f"{photo.name}: {percent(float((label != IGNORE).mean()))}"
            shown.append({"image": file_data(picture), "caption": caption})
        return shown

    def _archive(self, photos: list[Photo], kept: LabelsInMemory, folder: Path) -> tuple[Path, dict[str, Any]]:
        sizes = [list(label.shape) for label in kept.labels.values()]
        manifest = {**kept.manifest, "model_sha256": self.digest, "computed_at": sizes}
        if notes := [photo.note for photo in photos if photo.note]:
            manifest["notes"] = notes
        picture = folder / picture_name(manifest["files"])
        if manifest_chart(picture, manifest) is not None:
            manifest["picture"] = picture.name
        path = folder / "pseudo_labels.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bundle:
            for photo, (stem, label) in zip(photos, kept.labels.items(), strict=True):
                bundle.writestr(f"{stem}.png", label_png(label, photo.own_size))
            if "picture" in manifest:
                bundle.write(picture, picture.name)
            bundle.writestr(MANIFEST_NAME, json.dumps(manifest, indent=2) + "\n")
        return path, manifest


def _explanation() -> str:
    ordered = _listed(choice.selector.ordered for choice in choices().values())
    return (
        "In self-training a model is trained on its own predictions: the most confident pixels of unlabelled photos "
        f"become labels. Thresholds are found over all photos together ({ordered}: they follow the photos in their "
        "order). What is <b>ignored</b> is shown grey."
    )


def _other_names() -> str:
    """What selectors call the portion, where they call it something else, and which have none."""
    named = {name: choice.selector.shown[:1] for name, choice in choices().items()}
    others = [f"{name}: its {own[0]}" for name, own in named.items() if own and own[0] != "portion"]
    return ", ".join([*others, *(f"{name}: not used" for name, own in named.items() if not own)])


def _without_stride() -> str:
    return _listed("stride" not in choice.selector.options() for choice in choices().values())


def _listed(wanted: Iterable[bool]) -> str:
    """The names of the selectors that are wanted, in the order of `choices`."""
    return ", ".join(name for name, listed in zip(choices(), wanted, strict=True) if listed)


def _meaning(selector: str) -> str:
    return escape(f"{selector}: {choices()[selector].meaning}.")


def _missing(usable: tuple[str, ...]) -> str:
    """Why selectors are not offered."""
    missing = [name for name in choices() if name not in usable]
    return f" ({' and '.join(missing)} need a spatial prior, which this model does not carry.)" if missing else ""


def _check_numbers(portion: Any, stride: Any) -> None:
    """Programs may send anything; the selector checks the ranges."""
    if isinstance(portion, bool) or not isinstance(portion, int | float):
        raise UserError(f"The portion is {portion!r}: expected a number above 0 and at most 1, such as {PORTION}.")
    if isinstance(stride, bool) or not isinstance(stride, int | float) or stride != int(stride):
        raise UserError(f"The stride is {stride!r}: expected a whole number from 1 on, such as {STRIDE}.")
