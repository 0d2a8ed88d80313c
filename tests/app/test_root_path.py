"""The page behind a reverse proxy that shows it under a prefix, as web servers are set up to do."""

import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from gradio_client import Client, handle_file

from app.main import check_root_path, main
from tests.app.conftest import running_page
from training.errors import UserError

PREFIX = "/segment"
CONFIG = re.compile(r"window\.gradio_config = (\{.*?\});</script>", re.DOTALL)
NOT_PASSED_ON = {"transfer-encoding", "connection", "content-length"}


@pytest.fixture(scope="module")
def page(run_folder, tmp_path_factory) -> Iterator[str]:
    """The address of a page that was started with --root-path."""
    with running_page(run_folder, tmp_path_factory, "--root-path", PREFIX) as server:
        yield server.url


@pytest.fixture(scope="module")
def proxy(page) -> Iterator[str]:
    """The address of a reverse proxy that takes PREFIX away, and answers 404 where it is missing."""

    class Proxy(BaseHTTPRequestHandler):
        def log_message(self, *arguments) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.startswith(PREFIX):
                self.send_error(404)
                return
            content = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            headers = {**self.headers, "X-Forwarded-Host": self.headers["Host"]}
            address = page + (self.path.removeprefix(PREFIX) or "/")
            request = urllib.request.Request(address, content, headers, method=self.command)
            with urllib.request.urlopen(request, timeout=120) as answer:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in NOT_PASSED_ON:
                        self.send_header(name, value)
                self.end_headers()
                while part := answer.read1(65536):
                    self.wfile.write(part)
                    self.wfile.flush()

        do_POST = do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_served_page_carries_the_prefix(page):
    with urllib.request.urlopen(page, timeout=60) as answer:
        served = answer.read().decode()
    config = json.loads(CONFIG.search(served)[1])
    assert config["root"].endswith(PREFIX)
    with urllib.request.urlopen(f"{page}/config", timeout=60) as answer:
        assert json.loads(answer.read())["root"] == f"{page}{PREFIX}"


def test_files_and_endpoints_work_through_the_proxy(proxy, street_file, tmp_path):
    client = Client(f"{proxy}{PREFIX}/", verbose=False, download_files=tmp_path, httpx_kwargs={"timeout": 120})
    details, label, *_ = client.predict(handle_file(street_file), 0.5, api_name="/segment")
    assert details["shares"]["sky"] == 0.5
    assert label.endswith("street_label.png")


@pytest.mark.parametrize("path", ["", "/segment", "/a/b/", "https://example.org/segment", "http://10.0.0.1:80"])
def test_prefixes_that_browsers_follow(path):
    check_root_path(path)


@pytest.mark.parametrize("path", ["segment", "//segment", "/a b", "/a?b", "ftp://example.org/a", "https://"])
def test_what_is_no_prefix_is_told_before_a_model_is_opened(path, capsys):
    with pytest.raises(UserError):
        check_root_path(path)
    assert main(["--model", "none.onnx", "--root-path", path]) == 2
    assert "--root-path" in capsys.readouterr().err
