"""The second tab: the same photo through the source model and the adapted one, and what changed."""

from pathlib import Path
from typing import Any

import gradio as gr

from app.context import PageContext
from app.drawing import OPACITY, STRONG_OPACITY, changed_only, jpeg, written
from app.endpoints import QUICK, endpoint, file_data, hidden_photo, on_page, start_with, upload_of
from app.look import why_unchanged
from app.segmenting import Comparison, compare
from app.tables import changes
from app.tabs.parts import examples, photo_input
from app.uploads import Upload, range_for, read_photo, unique_stems
from training.errors import UserError
from training.evaluation.panels import overlay

NO_SOURCE = "There is no model to compare with: start the page with --compare RUN/source.onnx."
SIDES = '<p class="sides"><span>before adaptation</span><span>drag the line</span><span>after</span></p>'
CHANGED = '<p class="sides"><span>The changed pixels in the class they have now; grey stayed the same.</span></p>'
TAKE_PHOTO = "(photo) => photo"


class BeforeAfterTab:
    """Without a source model the tab says how to give one, and its endpoint too."""

    def __init__(self, context: PageContext, segment_photo: gr.Image):
        self.context = context
        self.space = context.model.space
        if context.source is None:
            gr.HTML(f'<p class="headline">{NO_SOURCE}</p>')
        self._layout(visible=context.source is not None)
        if context.source is not None:
            self._fill()
        self._connect(segment_photo)

    def _layout(self, visible: bool) -> None:
        with gr.Row(elem_classes="work", visible=visible):
            with gr.Column(scale=3, min_width=260):
                self.photo = photo_input("compare-photo", self.context.examples[0])
                self.take = gr.Button("Take the photo from Segment", size="sm", elem_id="take-photo")
                examples(self.context, self.photo)
            with gr.Column(scale=6, min_width=320):
                self.slider = gr.ImageSlider(
                    label="Before and after adaptation",
                    show_label=False,
                    elem_id="slider",
                    interactive=False,
                    max_height=640,
                    buttons=["fullscreen"],
                )
                gr.HTML(SIDES, padding=False)
                self.changed = gr.Image(
                    label="Changed pixels", show_label=False, elem_id="changed", buttons=["fullscreen"]
                )
                gr.HTML(CHANGED, padding=False)
            with gr.Column(scale=4, min_width=300):
                self.changes = gr.HTML(elem_id="changes", padding=False)
        self.shown = [self.slider, self.changes, self.changed]

    def _fill(self) -> None:
        first = self.context.examples[0]
        values = self._pictures(self._run(Upload(first, first.name)), self.context.results.kept("before_after"))
        for component, value in zip(self.shown, values, strict=True):
            start_with(component, value)

    def _connect(self, segment_photo: gr.Image) -> None:
        self.photo.change(**on_page(self.show), inputs=self.photo, outputs=self.shown, **QUICK)
        self.take.click(None, segment_photo, self.photo, js=TAKE_PHOTO)
        endpoint(self.api, "compare", [hidden_photo()], ["before", "after", "changed"], **QUICK)

    def show(self, photo: dict | None) -> tuple[Any, ...]:
        """Everything the tab shows of a photo; nothing once it was taken away."""
        upload = upload_of(photo)
        if upload is None:
            return None, "", None
        return self._pictures(self._run(upload), self.context.results.new())

    def api(self, photo: dict | None) -> tuple[dict, dict, dict, dict]:
        """Compare the model before and after adaptation on a street photo.

        Returns the share of changed pixels with the largest changes and a note if the photo was shrunk, the overlays
        before and after, and the changed pixels (JPEG).
        """
        upload = upload_of(photo)
        if upload is None:
            raise UserError("There is no photo: send one.")
        comparison = self._run(upload)
        return self._details(comparison), *map(file_data, self._files(comparison, self.context.results.new()))

    def _run(self, upload: Upload) -> Comparison:
        if self.context.source is None:
            raise UserError(NO_SOURCE)
        model = self.context.model
        limits = range_for(model.metadata.sixteen_bit_range, [upload])
        return compare(self.context.source, model, read_photo(upload, sixteen_bit_range=limits))

    def _pictures(self, comparison: Comparison, folder: Path) -> tuple[Any, ...]:
        before, after, changed = map(file_data, self._files(comparison, folder))
        why = why_unchanged(self.context.model, self.context.source)
        return (before, after), changes(comparison, self.space, why), changed

    def _files(self, comparison: Comparison, folder: Path) -> tuple[Path, Path, Path]:
        """Overlays before and after, and the changed pixels."""
        before, after = comparison.before.segmentation, comparison.after.segmentation
        stem = unique_stems([comparison.before.photo.name])[0]
        changed = overlay(after.image, changed_only(before.labels, after.labels), self.space, STRONG_OPACITY)
        pictures = {"before": before.overlay(OPACITY), "after": after.overlay(OPACITY), "changed": changed}
        return tuple(written(folder / f"{stem}_{name}.jpg", jpeg(picture)) for name, picture in pictures.items())

    def _details(self, comparison: Comparison) -> dict[str, Any]:
        names = self.space.names
        return {
            "name": comparison.before.photo.name,
            "changed": comparison.changed,
            "note": comparison.after.photo.note,
            "changes": [
                {"before": names[old], "after": names[new], "share": share} for old, new, share in comparison.changes
            ],
        }
