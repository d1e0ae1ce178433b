"""Frames, pictures, reviews, videos, exports and devices over HTTP, on real books and real pictures."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import served
from fastapi.testclient import TestClient
from painted_books import HEIGHT, RECIPE, SECRET, WIDTH, a_video, frame_id, painted_books, pixels
from pydantic import SecretStr

from api.http.app import create_api
from broker.artifacts import Artifacts
from broker.catalog import Catalog
from broker.embedded import EmbeddedBroker
from broker.exports import ExportSpec
from broker.settings import Settings, load_settings

ROLES = {"ana": "review", "ben": "enqueue", "root": "admin"}
TOKENS = " ".join(f"{name}:{role}:token-of-{name}-0123456789" for name, role in ROLES.items())


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory, server: EmbeddedBroker) -> Settings:
    home = tmp_path_factory.mktemp("content") / "state"
    return load_settings(home=home, broker_url=server.url, namespace="content")


@pytest.fixture(scope="module")
def catalog(books: Settings) -> Catalog:
    return painted_books(books)


@pytest.fixture(scope="module")
def api(books: Settings, catalog: Catalog) -> Iterator[TestClient]:
    with TestClient(create_api(books), base_url="http://127.0.0.1") as client:
        yield client


def signed_in(books: Settings, name: str) -> TestClient:
    settings = books.model_copy(update={"api_tokens": SecretStr(TOKENS)})
    client = TestClient(create_api(settings), base_url="http://127.0.0.1")
    client.headers["Authorization"] = f"Bearer token-of-{name}-0123456789"
    return client


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert (said["code"], said["status"]) == (code, status)
    return said


def test_frames_come_in_order_by_pages_under_filters(api: TestClient) -> None:
    whole = api.get("/frames", params={"order": "iou"}).json()
    assert whole["total"] == len(whole["items"]) == 12
    assert [item["verdict"] for item in whole["items"]] == ["hard"] * 4 + ["easy"] * 4 + ["teacher_none"] * 4
    walked, cursor = [], None
    for _ in range(3):
        asked = {"order": "iou", "limit": 5} | ({"cursor": cursor} if cursor else {})
        page = api.get("/frames", params=asked).json()
        walked += page["items"]
        cursor = page["next"]
    assert walked == whole["items"] and cursor is None
    some = {"verdict": ["hard", "easy"], "video": "https:video2", "job": "job2", "below_iou": 0.5}
    found = api.get("/frames", params=some).json()
    assert {(f["verdict"], f["video_id"]) for f in found["items"]} == {("hard", "https:video2")}
    assert api.get("/frames", params=some | {"job": "job1"}).json()["total"] == 0
    counts = api.get("/frames/facets", params=some).json()
    assert counts["total"] == 2 and counts["verdicts"] == {"hard": 2}
    assert sum(api.get("/frames/facets").json()["iou"][:50]) == 4


def test_what_cannot_be_asked_is_a_problem(api: TestClient) -> None:
    for query, field in (
        ({"limit": 0}, "query.limit"),
        ({"limit": 501}, "query.limit"),
        ({"min_iou": 0.6, "below_iou": 0.5}, "query"),
        ({"verdict": "nice"}, "query.verdict.0"),
        ({"colour": "red"}, "query.colour"),  # a mistyped filter would otherwise show everything
        ({"job": "a\x00b"}, "query.job.0"),
        ({"limit": [1, 2]}, "query.limit"),  # one of them would do nothing
    ):
        said = problem(api.get("/frames", params=query), 422, "invalid_request")
        assert [one["field"] for one in said["fields"]] == [field]
    problem(api.get("/frames", params={"cursor": "nonsense"}), 400, "bad_cursor")
    other = api.get("/frames", params={"order": "time", "limit": 1}).json()["next"]
    problem(api.get("/frames", params={"order": "iou", "cursor": other}), 400, "bad_cursor")
    problem(api.get("/frames/nonsense"), 404, "bad_frame_id")
    problem(api.get(f"/frames/{frame_id(9)}"), 404, "not_found")


def test_a_frame_is_shown_without_secrets_or_folders(api: TestClient) -> None:
    answer = api.get(f"/frames/{frame_id()}")
    frame = answer.json()
    assert frame["keeper"]["measures"] == {"margin": 0.5} and frame["jobs"] == ["job1"]
    assert frame["video"]["source"] == "https://videos.example/1.mp4"
    assert frame["recipe"]["device_model"]["weights"][0]["source"] == "me.tflite"
    everything = [answer.text] + [
        api.get(path).text for path in ("/videos", "/segments", "/devices", "/frames")
    ]
    assert not any(SECRET in text or "/home/someone" in text for text in everything)


@pytest.mark.parametrize("view", ["frame", "teacher", "device", "overlay"])
def test_pictures_are_small_on_request_and_asked_for_once(api: TestClient, view: str) -> None:
    address = f"/frames/{frame_id()}/images/{view}"
    full = api.get(address)
    assert pixels(full.content).shape[:2] == (HEIGHT, WIDTH)
    assert full.headers["content-type"] == ("image/png" if view in ("teacher", "device") else "image/jpeg")
    small = api.get(address, params={"width": 100})
    assert pixels(small.content).shape[:2] == (round(HEIGHT * 100 / WIDTH), 100)
    assert "immutable" in small.headers["cache-control"] and small.headers["etag"] != full.headers["etag"]
    again = api.get(address, params={"width": 100}, headers={"If-None-Match": small.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    person = api.get(address, params={"width": 100, "crop": "person"})  # TEACHER_BOX, and 42 pixels about it
    assert pixels(person.content).shape[:2] == (round(342 * 100 / 244), 100)
    assert person.headers["etag"] not in (small.headers["etag"], full.headers["etag"])
    problem(api.get(address, params={"width": 63}), 422, "invalid_request")
    problem(api.get(address, params={"crop": "dog"}), 422, "invalid_request")


def test_a_mask_that_is_not_there_is_a_problem(api: TestClient, books: Settings, catalog: Catalog) -> None:
    dropped = frame_id(1, 3000)
    assert api.get(f"/frames/{dropped}/images/frame").status_code == 200
    for view in ("teacher", "device", "overlay"):
        assert (
            "teacher_none" in problem(api.get(f"/frames/{dropped}/images/{view}"), 404, "no_mask")["detail"]
        )
    lost = frame_id(2, 22_000)
    Artifacts(books.artifacts).delete(str(catalog.frames.get(lost).keeper.device_key))
    problem(api.get(f"/frames/{lost}/images/overlay"), 404, "artifact_missing")
    assert api.get(f"/frames/{lost}/images/teacher").status_code == 200
    Artifacts(books.artifacts).put(str(catalog.frames.get(lost).keeper.mask_key), b"no picture")
    problem(api.get(f"/frames/{lost}/images/teacher", params={"width": 64}), 404, "picture_unusable")


def decision(number: int, frame: str, what: str) -> dict[str, str]:
    return {"id": f"decision-{number}", "frame_id": frame, "decision": what}


def test_decisions_are_booked_once_and_others_see_them(api: TestClient) -> None:
    before = api.get("/reviews").json()["total"]
    first, second = frame_id(1, 1000), frame_id(1, 2000)
    given = {"reviewer": "ana", "decisions": [decision(1, first, "keep"), decision(2, second, "reject")]}
    booked = api.post("/reviews", json=given).json()["items"]
    assert api.post("/reviews", json=given).json()["items"] == booked
    assert api.get("/reviews").json()["total"] == before + 2
    other = {"reviewer": "ben", "decisions": [decision(3, first, "reject")]}
    assert api.post("/reviews", json=other).status_code == 200
    news = api.get("/reviews", params={"after": booked[-1]["number"]}).json()["items"]
    assert [(event["reviewer"], event["frame_id"]) for event in news] == [("ben", first)]
    of_frame = api.get(f"/frames/{first}/reviews").json()["items"]
    assert [event["decision"] for event in of_frame] == ["keep", "reject"]
    assert api.get(f"/frames/{first}").json()["review"] == "disputed"
    assert api.get("/frames", params={"review": "rejected"}).json()["items"][0]["id"] == second
    changed = {"reviewer": "ana", "decisions": [decision(1, first, "reject")]}
    problem(api.post("/reviews", json=changed), 409, "review_conflict")
    missing = {"decisions": [decision(4, first, "keep"), decision(5, frame_id(9), "keep")]}
    problem(api.post("/reviews", json=missing), 404, "not_found")
    assert api.get("/reviews").json()["total"] == before + 3, "all of a request, or nothing"


def test_with_tokens_the_name_is_the_tokens_and_roles_are_kept(books: Settings, catalog: Catalog) -> None:
    ana, ben = signed_in(books, "ana"), signed_in(books, "ben")
    given = {"reviewer": "somebody else", "decisions": [decision(10, frame_id(2), "keep")]}
    assert ana.post("/reviews", json=given).json()["items"][0]["reviewer"] == "ana"
    problem(ben.post("/reviews", json=given), 403, "forbidden")
    problem(ana.post("/exports", json={}), 403, "forbidden")
    problem(ana.delete("/videos/https:video1"), 403, "forbidden")
    problem(ben.delete("/exports/export-1"), 403, "forbidden")
    problem(TestClient(ana.app, base_url="http://127.0.0.1").get("/frames"), 401, "not_signed_in")


def test_videos_and_segments(api: TestClient) -> None:
    videos = api.get("/videos", params={"limit": 1}).json()
    assert videos["total"] == 2 and videos["items"][0]["funnel"]["examined"] == 6
    assert api.get("/videos", params={"job": "job2"}).json()["items"][0]["video"]["id"] == "https:video2"
    one = api.get("/videos/https:video1").json()
    assert one["segments"] == {"total": 2, "done": 2, "failed": 0} and one["jobs"] == ["job1"]
    segments = api.get("/videos/https:video1/segments").json()["items"]
    assert [segment["index"] for segment in segments] == [0, 1]
    assert api.get("/segments", params={"state": "failed"}).json()["total"] == 0
    assert api.get("/segments", params={"job": "job2", "state": ["done", "failed"]}).json()["total"] == 2
    problem(api.get("/videos/https:none"), 404, "not_found")
    problem(api.get("/videos/https:none/segments"), 404, "not_found")


def test_devices_are_those_of_the_recipes(api: TestClient) -> None:
    known = api.get("/devices").json()
    assert known["workers_known"] is True
    (device,) = known["items"]
    assert (device["name"], device["version"], device["sha256"]) == ("litert", "file-me", "ab" * 32)
    assert (device["videos"], device["frames"], device["hard"]) == (2, 8, 4)
    assert device["recipes"] == [RECIPE.id] and device["workers"] == []


def a_finished_export(books: Settings, catalog: Catalog, data: bytes) -> str:
    name = catalog.exports.create(ExportSpec(), "test").id
    Artifacts(books.artifacts).put(f"exports/{name}.zip", data)
    assert catalog.exports.start(name)
    digest = hashlib.sha256(data).hexdigest()
    catalog.exports.finish(name, f"exports/{name}.zip", len(data), digest, {"train": 4}, [a_video(1).id])
    return name


def test_an_export_is_ordered_watched_and_deleted(api: TestClient, books: Settings, catalog: Catalog) -> None:
    ordered = api.post("/exports", json={"format": "csv", "frames": {"verdicts": ["hard"]}})
    assert ordered.status_code == 202 and ordered.json()["state"] == "queued"
    assert api.get(ordered.headers["location"]).json() == ordered.json()
    problem(api.get(f"{ordered.headers['location']}/file"), 409, "export_not_ready")
    problem(api.post("/exports", json={"format": "floppy"}), 422, "invalid_request")
    done = a_finished_export(books, catalog, b"zip")
    assert api.get("/exports").json()["items"][0]["id"] == done
    assert api.delete(f"/exports/{done}").json()["id"] == done
    assert not Artifacts(books.artifacts).exists(f"exports/{done}.zip")
    problem(api.get(f"/exports/{done}/file"), 404, "not_found")


def test_without_a_broker_the_books_are_read_and_no_export_is_booked(
    books: Settings, catalog: Catalog
) -> None:
    alone = load_settings(home=books.home)
    api = TestClient(create_api(alone), base_url="http://127.0.0.1")
    before = api.get("/exports").json()["total"]
    answer = api.post("/exports", json={})
    problem(answer, 503, "broker_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert api.get("/exports").json()["total"] == before
    assert api.get("/devices").json()["workers_known"] is False


def test_a_download_in_parts(api: TestClient, books: Settings, catalog: Catalog) -> None:
    data = bytes(range(256)) * 5000
    address = f"/exports/{a_finished_export(books, catalog, data)}/file"
    whole = api.get(address)
    assert whole.status_code == 200 and whole.content == data
    etag = whole.headers["etag"]
    assert etag == f'"{hashlib.sha256(data).hexdigest()}"' and whole.headers["accept-ranges"] == "bytes"
    part = api.get(address, headers={"Range": "bytes=1000-1999", "If-Range": etag})
    assert part.status_code == 206 and part.content == data[1000:2000]
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(data)}"
    assert api.get(address, headers={"Range": "bytes=1000-", "If-Range": '"older"'}).content == data
    beyond = api.get(address, headers={"Range": f"bytes={len(data)}-"})
    problem(beyond, 416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(data)}"
    assert api.get(address, headers={"If-None-Match": etag}).status_code == 304
    head = api.head(address)
    assert head.headers["content-length"] == str(len(data)) and head.content == b""
    name = address.split("/")[2]
    Artifacts(books.artifacts).put(f"exports/{name}.zip", b"cut off")
    problem(api.get(address), 404, "artifact_missing")


def test_curl_goes_on_where_a_download_was_cut_off(books: Settings, catalog: Catalog, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no curl on this machine")
    data = os.urandom(5_000_000)
    name, file = a_finished_export(books, catalog, data), tmp_path / "export.zip"
    file.write_bytes(data[:1_234_567])
    with served(books) as url:
        command = [curl, "-sS", "-f", "-C", "-", "-o", str(file), f"{url}/exports/{name}/file"]
        subprocess.run(command, check=True, timeout=240)
        assert file.read_bytes() == data


def test_a_forgotten_video_leaves_nothing(server: EmbeddedBroker, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "state", broker_url=server.url, namespace="forgotten")
    catalog, store = painted_books(settings), Artifacts(settings.artifacts)
    gone, stays = frame_id(1), frame_id(2)
    with TestClient(create_api(settings), base_url="http://127.0.0.1") as api:
        export = a_finished_export(settings, catalog, b"zip")
        assert api.post("/reviews", json={"decisions": [decision(1, gone, "keep")]}).status_code == 200
        assert api.get(f"/frames/{gone}/images/overlay", params={"width": 100}).status_code == 200
        erased = api.delete("/videos/https:video1", params={"reason": "asked for by its maker"}).json()
        assert (erased["videos"], erased["frames"], erased["reviews"]) == (1, 6, 1)
        assert erased["exports"] == [export] and erased["jobs"] == ["job1"]
        for path in (f"/frames/{gone}", f"/frames/{gone}/images/overlay?width=100", "/videos/https:video1"):
            problem(api.get(path), 404, "not_found")
        problem(api.get(f"/exports/{export}/file"), 404, "not_found")
        assert api.get("/reviews").json()["items"] == []
        assert api.get(f"/frames/{stays}/images/overlay").status_code == 200
        again = api.delete("/videos/https:video1").json()  # it may be repeated
        assert (again["videos"], again["frames"], again["artifacts"]) == (0, 0, 0)
        problem(api.delete("/videos/https:never-seen"), 404, "not_found")
    left = store.keys()
    assert left and not [key for key in left if "video1" in key or export in key]
