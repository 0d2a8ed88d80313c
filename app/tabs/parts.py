"""What several tabs share: how photos come in, and the example streets."""

from pathlib import Path

import gradio as gr

from app.context import PageContext
from app.endpoints import file_data, local_files_only, on_page
from app.limits import PICTURE_SUFFIXES


def photo_input(name: str, start: Path) -> gr.Image:
    """Where one photo comes in: a file, the camera or the clipboard. `start` is shown until then."""
    photo = gr.Image(
        str(start),
        label="Street photo",
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        elem_id=name,
        buttons=["fullscreen"],
    )
    return local_files_only(photo)


def files_input(name: str, label: str, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> gr.File:
    """Where several files come in at once."""
    files = gr.File(label=label, file_count="multiple", file_types=list(suffixes), elem_id=name, height=190)
    return local_files_only(files)


def examples(context: PageContext, photo: gr.Image) -> None:
    """The example streets as thumbnails under `photo`."""
    _keep(context, photo)
    gr.Examples([[str(path)] for path in context.examples], [photo], label="Generated streets to try")


def example_button(context: PageContext, files: gr.File, name: str) -> None:
    """A button that puts all example streets into `files`."""
    _keep(context, files)
    button = gr.Button("Take the example streets", size="sm", elem_id=name)
    button.click(**on_page(lambda: [file_data(path) for path in context.examples]), outputs=files)


def _keep(context: PageContext, component: gr.components.Component) -> None:
    """Gradio deletes files that were used as an input once they are old; the examples have to stay."""
    component.keep_in_cache |= {str(path) for path in context.examples}
