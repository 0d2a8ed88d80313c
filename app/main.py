"""A web page for an exported model. `python app/main.py --help`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported: nothing is sent anywhere
os.environ["HF_HUB_OFFLINE"] = "1"

import re
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import tyro

from app.context import PageContext
from app.examples import draw_examples
from app.limits import SESSIONS, UPLOAD_BYTES
from app.loaded_model import LoadedModel, check_same_classes, load_model, newest_model, source_beside
from app.look import head, theme
from app.page import build_page
from app.results import ResultFolder
from models.terminal import accept_all_characters
from training.errors import UserError


@dataclass(frozen=True)
class Arguments:
    """Open a web page on an exported model: segment photos, compare before and after adaptation, see pseudo-labels.

    The newest run under runs/:

      python app/main.py

    A certain model, compared with the source.onnx beside it:

      python app/main.py --model runs/mine/model.onnx
    """

    model: Path | None = None
    """The .onnx file. Not given: the newest model.onnx under runs/."""
    compare: Path | None = None
    """The model before adaptation. Not given: source.onnx beside the model, if it is there."""
    share: bool = False
    """Give the page a public address for up to a week (through Gradio's servers)."""
    port: int | None = None
    """Not given: the first free one from 7860 on."""
    host: str = "127.0.0.1"
    """Where to listen; 0.0.0.0 lets other computers in."""
    root_path: str = ""
    """Where a reverse proxy shows the page, if not at the root of its host: /segment, or https://example.org/segment.
    The proxy has to take this prefix away before it passes a request on."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0 stopped, 2 a mistake of the user's."""
    accept_all_characters()
    arguments = tyro.cli(Arguments, args=argv, prog="app/main.py")
    try:
        check_root_path(arguments.root_path)
        check_address(arguments.host, arguments.port)
        model, source = open_models(arguments)
        serve(model, source, arguments)
        return 0
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def check_root_path(path: str) -> None:
    """Raise UserError for a prefix that browsers could not follow."""
    if path and not re.fullmatch(r"(https?://[^/\s?#]+)?(/[^/\s?#]+)*/?", path):
        raise UserError(
            f"--root-path {path} is no prefix: expected a path that begins with a slash, such as /segment, or an "
            "address such as https://example.org/segment."
        )


def check_address(host: str, port: int | None) -> None:
    """Raise UserError for an address on which this computer cannot listen; without a port the host alone is tried."""
    if port is not None and not 0 < port < 1 << 16:
        raise UserError(f"--port {port}: expected 1 to 65535.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            if os.name != "nt":  # there the option would let two programs listen on one port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be that of a host
        place = f"--host {host}" if port is None else f"--host {host} --port {port}"
        raise UserError(
            f"The page cannot listen on {place} ({getattr(error, 'strerror', error)}): choose another."
        ) from error


def open_models(arguments: Arguments) -> tuple[LoadedModel, LoadedModel | None]:
    """The model and the one to compare it with, as the arguments say or as they are found."""
    path = arguments.model or newest_model()
    model = load_model(path)
    compare = arguments.compare or source_beside(path)
    if compare is None:
        return model, None
    source = load_model(compare)
    check_same_classes(model, source)
    return model, source


def serve(model: LoadedModel, source: LoadedModel | None, arguments: Arguments) -> None:
    """Show the page until Ctrl-C or SIGTERM; uploads and results vanish with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ResultFolder() as results:
        print(f"Opening {model.path}" + (f", compared with {source.path}" if source else ""), flush=True)
        examples = draw_examples(results.kept("examples"))
        page = build_page(PageContext(model, source, results, examples))
        try:
            _, url, public = page.launch(
                server_name=arguments.host,
                server_port=arguments.port,
                share=arguments.share,
                root_path=arguments.root_path.rstrip("/") or None,
                theme=theme(),
                head=head(),
                max_file_size=UPLOAD_BYTES,
                show_error=True,
                run_history=False,
                enable_monitoring=False,
                footer_links=["api", "settings"],
                ssr_mode=False,
                state_session_capacity=SESSIONS,
                quiet=True,
                prevent_thread_lock=True,
            )
            print(f"The page: {public or url}  (Ctrl-C stops it)", flush=True)
            page.block_thread()
        except OSError as error:
            taken = "any port from 7860 on" if arguments.port is None else f"port {arguments.port}"
            raise UserError(f"The page cannot listen on {taken}: choose another --port.") from error
        finally:
            page.close(verbose=False)


if __name__ == "__main__":
    sys.exit(main())
