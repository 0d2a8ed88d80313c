"""The fourth tab: many photos, or a short video, in; a zip out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app import batch as work
from app import tables
from app.context import PageContext
from app.drawing import OPACITY, written
from app.endpoints import LONG, endpoint, file_data, on_page, uploads_of
from app.limits import BATCH_PHOTOS, PICTURE_SUFFIXES, VIDEO_SECONDS
from app.tabs.parts import example_button, files_input
from app.uploads import check_opacity
from export.video_reading import VIDEO_SUFFIXES

DEFAULT_CONTENTS = ("labels", "overlays")
EXPLANATION = (
    f"Up to {BATCH_PHOTOS} photos, or one video of up to {VIDEO_SECONDS} seconds. One bad file does not stop the rest. "
    "The zip holds what you choose, and tables of class shares."
)


class BatchTab:
    """Nothing starts by itself here: a batch may take minutes."""

    def __init__(self, context: PageContext):
        self.context = context
        self._layout()
        self._connect()

    def _layout(self) -> None:
        with gr.Row(elem_classes="work"):
            with gr.Column(scale=3, min_width=280):
                gr.HTML(f'<p class="note">{EXPLANATION}</p>', padding=False)
                self.files = files_input("batch-files", "Photos or a video", PICTURE_SUFFIXES + VIDEO_SUFFIXES)
                example_button(self.context, self.files, "batch-examples")
                self.contents = gr.CheckboxGroup(list(work.CONTENTS), value=list(DEFAULT_CONTENTS), label="In the zip")
                self.opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="Opacity")
                self.run = gr.Button("Segment all", variant="primary", elem_id="batch-run")
            with gr.Column(scale=5, min_width=320):
                self.film = gr.Video(
                    label="The video", elem_id="batch-film", interactive=False, visible=False, buttons=["download"],
                )  # fmt: skip
                self.gallery = gr.Gallery(
                    label="The first results", columns=2, height="auto", object_fit="contain", interactive=False,
                    elem_id="batch-gallery", buttons=["fullscreen"],
                )  # fmt: skip
                self.archive = gr.DownloadButton("Download all (zip)", elem_id="batch-zip", size="sm")
            with gr.Column(scale=4, min_width=300):
                self.table = gr.HTML(elem_id="batch-table", padding=False)

    def _connect(self) -> None:
        inputs = [self.files, self.contents, self.opacity]
        outputs = [self.table, self.film, self.gallery, self.archive]
        self.run.click(**on_page(self.show), inputs=inputs, outputs=outputs, show_progress_on=self.table, **LONG)
        endpoint(self.api, "batch", inputs, ["zip"], **LONG)

    def show(self, files, contents, opacity, progress=gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """Table, video (shown where there is one), gallery and zip."""
        folder = self.context.results.new()
        done = self._run(files, contents, opacity, folder, progress)
        gallery = [
            {"image": file_data(written(folder / f"preview_{number}.jpg", picture)), "caption": name}
            for number, (picture, name) in enumerate(done.previews)
        ]
        film = gr.update(value=done.film and file_data(done.film), visible=done.film is not None)
        return tables.batch(done, self.context.model.space), film, gallery, file_data(done.archive)

    def api(
        self,
        files,
        contents: Sequence[str] = DEFAULT_CONTENTS,
        opacity: float = OPACITY,
        progress=gr.Progress(),  # noqa: B008
    ) -> tuple[dict, dict]:
        """Segment many photos, or one short video.

        contents: what the zip shall hold, of "labels", "overlays", "confidence". Returns what became of each file
        (class shares and a note if it was shrunk, or the sentence that says what is wrong with it), a note on a video
        that was cut or has a variable frame rate, and the zip.
        """
        done = self._run(files, contents, opacity, self.context.results.new(), progress)
        return self._details(done), file_data(done.archive)

    def _run(self, files, contents, opacity, folder: Path, progress) -> work.Batch:
        report = lambda share, what: progress(share, desc=what)  # noqa: E731
        archive = folder / "streetshift_batch.zip"
        return work.process(self.context.model, uploads_of(files), archive, contents, check_opacity(opacity), report)

    def _details(self, done: work.Batch) -> dict[str, Any]:
        names = self.context.model.space.names
        lines = [
            {"name": line.name, "problem": line.problem}
            if line.problem
            else {
                "name": line.name,
                "shares": {names[class_id]: share for class_id, share in line.shares},
                "note": line.note,
            }
            for line in done.lines
        ]
        return {"done": done.done, "files": lines, "note": done.note}
