"""The first tab: one photo, what is where in it, how sure the model is."""

from pathlib import Path
from typing import Any

import gradio as gr

from app.context import PageContext
from app.drawing import OPACITY, certainty_map, jpeg, label_png, write_masks, written
from app.endpoints import ORDERED, QUICK, endpoint, file_data, hidden_photo, on_page, start_with, upload_of
from app.limits import MASK_SIDE
from app.look import CERTAINTY_SCALE, hex_colours
from app.segmenting import Segmented, segment
from app.tables import about_photo, legend
from app.tabs.parts import examples, photo_input
from app.uploads import Upload, check_opacity, fitted, range_for, read_photo, unique_stems
from training.data.images import resize_image, resize_label
from training.errors import UserError

# The masks lie over the photo in the browser: the slider moves them there at once, without the server.
MOVE_MASKS = "(opacity) => { document.documentElement.style.setProperty('--class-opacity', opacity); }"
NOTHING = (None, "", "", None, None, None)


class SegmentTab:
    """Opacity 0 shows the photo alone, 1 the classes alone."""

    def __init__(self, context: PageContext):
        self.context = context
        self.space = context.model.space
        self._layout()
        self._fill()
        self._connect()

    def _layout(self) -> None:
        with gr.Row(elem_classes="work"):
            with gr.Column(scale=3, min_width=260):
                self.photo = photo_input("segment-photo", self.context.examples[0])
                examples(self.context, self.photo)
            with gr.Column(scale=6, min_width=320):
                self.masks = gr.AnnotatedImage(
                    label="What is where",
                    show_label=False,
                    show_legend=False,
                    color_map=hex_colours(self.space),
                    elem_id="masks",
                    buttons=["fullscreen"],
                )
                self.opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="Opacity of the classes", elem_id="opacity")
                self.about = gr.HTML(padding=False)
                with gr.Row(elem_classes="downloads"):
                    self.overlay_file = gr.DownloadButton("Download overlay", elem_id="overlay-file", size="sm")
                    self.label_file = gr.DownloadButton("Download label PNG", elem_id="label-file", size="sm")
            with gr.Column(scale=3, min_width=240):
                self.legend = gr.HTML(elem_id="legend", padding=False)
                self.certainty = gr.Image(
                    label="Confidence", show_label=False, elem_id="certainty", buttons=["fullscreen"]
                )
                gr.HTML(CERTAINTY_SCALE, padding=False)
        self.shown = [self.masks, self.legend, self.about, self.certainty, self.overlay_file, self.label_file]

    def _fill(self) -> None:
        """Show the first example, segmented, to whoever opens the page."""
        first = self.context.examples[0]
        values = self._pictures(self._run(Upload(first, first.name)), OPACITY, self.context.results.kept("segment"))
        for component, value in zip(self.shown, values, strict=True):
            start_with(component, value)

    def _connect(self) -> None:
        self.photo.change(**on_page(self.show), inputs=[self.photo, self.opacity], outputs=self.shown, **ORDERED)
        self.opacity.change(None, self.opacity, None, js=MOVE_MASKS)
        redrawn = {"inputs": [self.photo, self.opacity], "outputs": self.overlay_file, "show_progress": "hidden"}
        self.opacity.change(**on_page(self.redraw), **redrawn, **ORDERED)
        endpoint(self.api, "segment", [hidden_photo(), self.opacity], ["label", "overlay", "confidence"], **QUICK)

    def show(self, photo: dict | None, opacity: float) -> tuple[Any, ...]:
        """Everything the tab shows of a photo; nothing once it was taken away."""
        upload = upload_of(photo)
        if upload is None:
            return NOTHING
        return self._pictures(self._run(upload), check_opacity(opacity), self.context.results.new())

    def redraw(self, photo: dict | None, opacity: float) -> dict | None:
        """The overlay to download, at another opacity."""
        upload = upload_of(photo)
        if upload is None:
            return None
        return file_data(self._write_overlay(self._run(upload), check_opacity(opacity), self.context.results.new()))

    def api(self, photo: dict | None, opacity: float = OPACITY) -> tuple[dict, dict, dict, dict]:
        """Segment a street photo.

        Returns what is known of it (size, milliseconds, mean confidence, share of each class, and a note if it was
        shrunk), the label PNG (train ids, the photo's own size), the overlay (JPEG) and the confidence map (JPEG).
        """
        upload = upload_of(photo)
        if upload is None:
            raise UserError("There is no photo: send one.")
        result, folder = self._run(upload), self.context.results.new()
        return self._details(result), *map(file_data, self._files(result, check_opacity(opacity), folder))

    def _run(self, upload: Upload) -> Segmented:
        model = self.context.model
        limits = range_for(model.metadata.sixteen_bit_range, [upload])
        return segment(model, read_photo(upload, sixteen_bit_range=limits))

    def _pictures(self, result: Segmented, opacity: float, folder: Path) -> tuple[Any, ...]:
        label, overlaid, certainty = map(file_data, self._files(result, opacity, folder))
        return self._masks(result, folder), legend(result, self.space), about_photo(result), certainty, overlaid, label

    def _files(self, result: Segmented, opacity: float, folder: Path) -> tuple[Path, Path, Path]:
        """Label PNG, overlay and confidence map."""
        stem = unique_stems([result.photo.name])[0]
        label = written(folder / f"{stem}_label.png", label_png(result.segmentation.labels, result.photo.own_size))
        certainty = written(folder / f"{stem}_confidence.jpg", jpeg(certainty_map(result.segmentation.confidence)))
        return label, self._write_overlay(result, opacity, folder), certainty

    def _write_overlay(self, result: Segmented, opacity: float, folder: Path) -> Path:
        stem = unique_stems([result.photo.name])[0]
        return written(folder / f"{stem}_overlay.jpg", jpeg(result.segmentation.overlay(opacity)))

    def _masks(self, result: Segmented, folder: Path) -> dict[str, Any]:
        """What AnnotatedImage shows: the photo at modest size and a mask for each class present.

        Small photos are enlarged, so that the page needs to shrink pictures only, by the shape of the window.
        """
        height, width = result.photo.image.shape[:2]
        size = fitted((height * MASK_SIDE, width * MASK_SIDE), MASK_SIDE)
        photo = written(folder / "photo.jpg", jpeg(resize_image(result.photo.image, size)))
        classes = [class_id for class_id, _ in result.shares]
        masks = write_masks(folder, resize_label(result.segmentation.labels, size), classes, self.space)
        annotations = [
            {"image": file_data(mask), "label": self.space.names[class_id]}
            for class_id, mask in zip(classes, masks, strict=True)
        ]
        return {"image": file_data(photo), "annotations": annotations}

    def _details(self, result: Segmented) -> dict[str, Any]:
        height, width = result.photo.own_size
        return {
            "name": result.photo.name,
            "width": width,
            "height": height,
            "milliseconds": round(result.milliseconds, 1),
            "mean_confidence": float(result.segmentation.confidence.mean()),
            "note": result.photo.note,
            "shares": {self.space.names[class_id]: share for class_id, share in result.shares},
        }
