"""The page's endpoints through gradio_client on a real server: right answers, clear messages, nothing left behind."""

import concurrent.futures
import json
import re
import time
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.app.tiny_model import NAMES, painted, street

PEOPLE = 12  # tests/benchmarks/page_load.py takes 30
PATIENCE = {"timeout": 120}  # seconds, on a busy machine


def test_every_feature_is_an_endpoint_with_a_name(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/segment", "/compare", "/pseudo_labels", "/batch", "/model"}
    assert "https:" not in json.dumps(named)  # the examples of the documentation are files, which the page accepts


def test_segment(client, street_file):
    details, label, overlay, confidence = client.predict(handle_file(street_file), 0.5, api_name="/segment")
    assert (details["name"], details["width"], details["height"]) == ("street", 128, 64)
    assert details["shares"] == pytest.approx({"sky": 0.5, "road": 0.4375, "car": 0.0625}, abs=3e-4)
    assert np.mean(np.asarray(Image.open(label)) == street()) > 0.999
    assert Image.open(overlay).size == Image.open(confidence).size == (128, 64)


def test_that_a_very_large_photo_was_shrunk_is_among_the_details(client, save):
    """48 megapixels, as many phones take them."""
    photo = handle_file(save("phone.jpg", Image.new("L", (8000, 6000), 90)).path)
    details, label, *_ = client.predict(photo, 0.5, api_name="/segment")
    told = "phone.jpg has 48 megapixels (8000 x 6000): it was shrunk to 1600 x 1200"
    assert details["note"].startswith(told)
    assert Image.open(label).size == (details["width"], details["height"]) == (8000, 6000)
    assert client.predict(photo, api_name="/compare")[0]["note"].startswith(told)
    assert client.predict([photo], ["labels"], 0.5, api_name="/batch")[0]["files"][0]["note"].startswith(told)
    manifest, _ = client.predict([photo], "cbst", 0.2, 4, api_name="/pseudo_labels")
    assert manifest["notes"][0].startswith("phone.jpg has 48 megapixels (8000 x 6000): it was shrunk to 1024 x 768")


def test_compare(client, street_file):
    details, *pictures = client.predict(handle_file(street_file), api_name="/compare")
    assert details["changed"] == 0.5
    assert [(change["before"], change["after"]) for change in details["changes"]] == [("car", "road"), ("road", "car")]
    assert [Image.open(picture).size for picture in pictures] == [(128, 64)] * 3


def test_pseudo_labels(client, street_file, save):
    photos = [handle_file(street_file), handle_file(save("street.jpg", painted(street(96, 128)), quality=95).path)]
    manifest, archive = client.predict(photos, "cbst", 0.25, 1, api_name="/pseudo_labels")
    assert (manifest["selector"], manifest["images"], manifest["files"]) == ("cbst", 2, ["street.png", "street-2.png"])
    assert manifest["class_names"] == list(NAMES)
    with zipfile.ZipFile(archive) as bundle:
        assert json.loads(bundle.read("manifest.json")) == manifest
        label = np.asarray(Image.open(bundle.open("street-2.png")))
    assert label.shape == (96, 128)
    assert set(np.unique(label)) <= {0, 2, 3, 255}


def test_pseudo_labels_of_ias(client, street_file):
    """Two photos of one size are one batch; the portion became alpha."""
    manifest, archive = client.predict([handle_file(street_file)] * 2, "ias", 1.0, 4, api_name="/pseudo_labels")
    assert (manifest["selector"], manifest["alpha"], manifest["batch_size"]) == ("ias", 1.0, 2)
    assert np.shape(manifest["threshold_trajectory"]) == (2, len(NAMES))
    with zipfile.ZipFile(archive) as bundle:
        label = np.asarray(Image.open(bundle.open("street.png")))
    assert set(np.unique(label)) - {255} == {0, 2, 3}


def test_pseudo_labels_of_the_certain_mode(client, street_file):
    """Portion and stride are not used; the zip holds the picture of the modes."""
    photos = [handle_file(street_file)] * 2
    manifest, archive = client.predict(photos, "entropy_mixture", 0.01, 64, api_name="/pseudo_labels")
    assert (manifest["selector"], manifest["scope"]) == ("entropy_mixture", "domain")
    assert len(manifest["mixtures"]) == len(NAMES)
    assert manifest["kept_share_all"] > 0.1
    with zipfile.ZipFile(archive) as bundle:
        assert set(bundle.namelist()) == {"street.png", "street-2.png", manifest["picture"], "manifest.json"}
        assert Image.open(bundle.open(manifest["picture"])).width > 300


def test_batch(client, street_file, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    files = [handle_file(street_file), handle_file(tmp_path / "notes.png")]
    details, archive = client.predict(files, ["labels"], 0.5, api_name="/batch")
    assert details["done"] == 1
    assert details["files"][0]["shares"]["sky"] == 0.5
    assert "notes.png is damaged" in details["files"][1]["problem"]
    with zipfile.ZipFile(archive) as bundle:
        assert set(bundle.namelist()) == {"labels/street.png", "class_shares.csv", "classes.csv", "problems.txt"}


def test_model(client):
    about = client.predict(api_name="/model")
    assert about["names"] == list(NAMES)
    assert about["metrics"]["after"]["miou"] == 60.0
    assert about["compares"] is True
    assert {"cbst_sp", "ias"} <= set(about["selectors"])


def test_mistakes_are_told_in_one_sentence(client, tmp_path, street_file):
    (tmp_path / "text.png").write_text("no picture")
    photo = handle_file(street_file)
    for arguments, name, sentence in (
        ([handle_file(tmp_path / "text.png"), 0.5], "/segment", r"text\.png is damaged or no picture"),
        ([None, 0.5], "/segment", "There is no photo"),
        ([photo, 7], "/segment", "The opacity is 7"),
        ([photo, "much"], "/segment", "The opacity is 'much'"),
        ([[photo], "best", 0.2, 4], "/pseudo_labels", "selector"),
        ([[photo], "cbst", 0, 4], "/pseudo_labels", "portion"),
        ([[photo], "cbst", 0.2, "x"], "/pseudo_labels", "stride"),
        ([[], "cbst", 0.2, 4], "/pseudo_labels", "no photos"),
        ([[photo], ["all"], 0.5], "/batch", "zip"),
    ):
        with pytest.raises(AppError, match=sentence) as error:
            client.predict(*arguments, api_name=name)
        assert "Traceback" not in str(error.value)


def test_files_outside_the_upload_folder_are_refused(server, street_file):
    """Sent past gradio_client, which would upload the file itself. Gradio checks what is called a file only."""
    ours = "Send a file that was uploaded to this page"
    for path in (str(street_file), "/etc/passwd", "../" * 12 + "etc/passwd", "http://127.0.0.1:9/secret.png"):
        for meta, words in (({"meta": {"_type": "gradio.FileData"}}, ""), ({"meta": {}}, ours), ({}, ours)):
            photo = {"path": path, **meta}
            for name, data in (("segment", [photo, 0.5]), ("compare", [photo])):
                told = answer_of(server, name, data)
                assert told.startswith("event: error"), told
                assert words in told
                assert "Traceback" not in told
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{server.url}/gradio_api/file=/etc/passwd")
    assert error.value.code == 403


def answer_of(server, name: str, data: list) -> str:
    event = post(f"{server.url}/gradio_api/call/{name}", {"data": data})["event_id"]
    with urllib.request.urlopen(f"{server.url}/gradio_api/call/{name}/{event}", timeout=60) as answer:
        return answer.read().decode()


def post(url: str, content: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_people_with_the_same_photo_at_once_all_get_their_answer(server, street_file, tmp_path):
    """Identical pictures at the same time: a result named by its content would be written while it is read."""

    def ask(person: int) -> dict:
        mine = Client(server.url, verbose=False, download_files=tmp_path / str(person), httpx_kwargs=PATIENCE)
        return mine.predict(handle_file(street_file), 0.5, api_name="/segment")[0]

    with concurrent.futures.ThreadPoolExecutor(PEOPLE) as people:
        answers = list(people.map(ask, range(PEOPLE)))
    assert all(answer["shares"] == answers[0]["shares"] for answer in answers)


def test_the_served_page_names_no_other_host(server):
    """Gradio's page describes itself with two addresses that no browser fetches; scripts and styles are all local."""
    with urllib.request.urlopen(server.url, timeout=60) as answer:
        page = answer.read().decode()
    assert "class-tip" in page  # our script is there
    fetched = re.findall(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=[\"'](https?://[^\"']+)", page)
    assert fetched == []


def test_no_traceback_reached_the_log_and_results_lie_apart(server):
    time.sleep(0.5)
    assert "KeyError" not in server.log.read_text()
    assert "streetshift.page" not in server.log.read_text()
    results = [path for path in server.folder.iterdir() if len(path.name) == 32]
    assert results
    assert all(len(list(folder.glob("*_label.png"))) <= 1 for folder in results)
