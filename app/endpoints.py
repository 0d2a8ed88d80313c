"""What Gradio needs: files in and out, errors as one sentence, and named endpoints for programs."""

import functools
import logging
import os
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import move_files_to_cache
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like

from app.limits import AT_ONCE, LONG_JOBS_AT_ONCE
from app.uploads import Upload
from training.data.photo_files import is_junk
from training.errors import UserError

# Gradio runs at most so many of the events with the same id at once, whoever asked; the others wait in its queue.
QUICK = {"concurrency_id": "quick", "concurrency_limit": AT_ONCE}
# Events that show the same file to download: one after the other, in the order in which they were asked for.
ORDERED = {"concurrency_id": "ordered", "concurrency_limit": 1}
LIGHT = {"concurrency_id": "light", "concurrency_limit": AT_ONCE}
LONG = {"concurrency_id": "long", "concurrency_limit": LONG_JOBS_AT_ONCE}
# Files arrive and leave as dictionaries: Gradio's own conversions would decode pictures before any limit is looked at,
# and name results by their content.
RAW = {"preprocess": False, "postprocess": False}

_log = logging.getLogger("streetshift.page")


def told(function: Callable) -> Callable:
    """Turn mistakes of the user, and bugs of ours, into a message on the page: never a traceback."""

    @functools.wraps(function)
    def wrapper(*arguments, **named):
        try:
            return function(*arguments, **named)
        except UserError as error:
            raise message(str(error)) from None
        except gr.Error:
            raise
        except Exception:
            _log.exception("error in %s", function.__name__)
            raise message("The page could not do this: try another photo, or read the server's log.") from None

    return wrapper


def message(sentence: str) -> gr.Error:
    """The sentence as a message on the page, which shows HTML: file names may hold some."""
    return gr.Error(escape(sentence, quote=False), title="Sorry", duration=12, print_exception=False)


def local_files_only(component: gr.components.Component) -> gr.components.Component:
    """Refuse web addresses in place of files, which Gradio would go and fetch; returns the component.

    Gradio's API documentation shows `example_payload`, by default such an address.
    """
    example = {"path": "photo.jpg", "url": "photo.jpg", "meta": {"_type": "gradio.FileData"}}
    component.example_payload = lambda: [example] if isinstance(component, gr.File) else example
    move = component.async_move_resource_to_block_cache

    async def move_local(path):
        if path is not None and is_http_url_like(str(path)):
            raise message("Send a file, not an address: this page fetches nothing from the network.")
        return await move(path)

    component.async_move_resource_to_block_cache = move_local
    return component


def upload_of(payload: dict | None) -> Upload | None:
    """The uploaded file of a Gradio payload.

    Gradio itself checks the path only where the payload calls itself a file, which a program may leave out.
    """
    if payload is None:
        return None
    if not payload.get("path"):
        raise message("No file arrived: upload the photo as a file.")
    path = Path(payload["path"])
    if Path(os.path.realpath(get_upload_folder())) not in Path(os.path.realpath(path)).parents:
        raise message("Send a file that was uploaded to this page: it opens no others.")
    return Upload(path, Path(payload.get("orig_name") or path.name).name)


def uploads_of(payload: Sequence[dict] | None) -> list[Upload]:
    """The uploaded files of a Gradio payload, in order, without what systems hide beside photos (`._IMG_1.jpg`)."""
    uploads = map(upload_of, payload or ())
    return [upload for upload in uploads if upload is not None and not is_junk(upload.name)]


def file_data(path: Path) -> dict[str, Any]:
    """A file of ours as Gradio's page and client expect it."""
    size = path.stat().st_size
    return {"path": str(path), "orig_name": path.name, "size": size, "meta": {"_type": "gradio.FileData"}}


def start_with(component: gr.components.Component, value: Any) -> None:
    """Let a component show `value`, in the form its events return, from the start."""
    component.value = move_files_to_cache(value, component, postprocess=True, keep_in_cache=True)


def on_page(function: Callable) -> dict[str, Any]:
    """The function and options of an event that only the page itself triggers."""
    return {"fn": told(function), "api_visibility": "private", **RAW}


def endpoint(function: Callable, name: str, inputs: Sequence, files: Sequence[str] = (), **options) -> None:
    """Offer `function` to programs as /name; nothing on the page triggers it.

    It returns a JSON object, and after it the files that `files` names, in this order.
    """
    outputs = [gr.JSON(label="details", visible=False), *(gr.File(label=label, visible=False) for label in files)]
    trigger = gr.Button(visible=False)
    trigger.click(told(function), list(inputs), outputs, api_name=name, **RAW, **options)


def hidden_photo() -> gr.Image:
    """The photo that a program sends; the one on the page shows an example, which is no default for programs."""
    return local_files_only(gr.Image(label="photo", type="filepath", visible=False))
