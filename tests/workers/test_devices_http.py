"""A device behind an HTTP server, and all that can come back from one."""

import http.client
import socket
import ssl
from dataclasses import replace

import device_server
import httpx
import numpy as np
import pytest
import trustme
from device_pages import opened, reference_server, write_page
from device_server import TOKEN
from patience import longer_and_longer
from tiny_tflite import Tiny

from workers.devices.answer_pictures import Sent, person_map
from workers.devices.answers import AnswerOptions
from workers.devices.errors import (
    DeviceAway,
    DeviceFault,
    DeviceMisdescribed,
    ServerFailed,
    TooLate,
    UnreadableAnswer,
    WrongSize,
)
from workers.devices.reference_server import ReferenceServer
from workers.pictures import decode_rgb, encode_jpeg, encode_png

ONE_CA, OTHER_CA = trustme.CA(), trustme.CA()
PATIENT = 120.0


@pytest.fixture(scope="module")
def server():
    with device_server.running() as one:
        yield one


@pytest.fixture
def device(server, tmp_path):
    server.seen.clear()

    def described(path, section=None, **keys):
        there = {"url": server.url(path), **(section or {})}
        return opened(tmp_path / "me.toml", "http", there, **{"time_limit": PATIENT, **keys})

    return described


def frame(red=200, height=6, width=8):
    image = np.full((height, width, 3), 30, np.uint8)
    image[: height // 2, :, 0] = red
    return image


def secret(path, text=TOKEN, mode=0o600):
    path.write_text(text + "\n")
    path.chmod(mode)
    return str(path)


def test_each_answer_belongs_to_its_picture_over_connections_that_are_kept(device, server):
    frames = [frame(red) for red in (10, 60, 110, 160, 210)]
    maps = device("good", batch=2).maps(frames)
    assert [m.tolist() for m in maps] == [f[:, :, 0].tolist() for f in frames]
    assert len(server.seen) == 5
    assert len({client for client, _, _ in server.seen}) <= 2  # at once, and kept
    assert {head["Content-Type"] for _, head, _ in server.seen} == {"image/png"}
    assert {head["Accept-Encoding"] for _, head, _ in server.seen} == {"identity"}  # packed masks are refused


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_a_picture_is_sent_in_the_size_and_format_that_is_described(device, server, form):
    (answer,) = device("good", input=[16, 12], frames=form).maps([frame(height=48, width=64)])
    ((_, head, body),) = server.seen
    assert answer.shape == (12, 16)
    assert (head["Content-Type"], decode_rgb(body).shape) == (f"image/{form}", (12, 16, 3))
    assert body[:2] == (b"\x89P" if form == "png" else b"\xff\xd8")


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("wrong-size", WrongSize, ("9 x 6", "8 x 6", "answer_size")),
        ("truncated", UnreadableAnswer, ("no whole PNG",)),
        ("cut", ServerFailed, ("ended in the middle",)),
        ("empty", UnreadableAnswer, ("0 bytes",)),
        ("page", UnreadableAnswer, ("no whole PNG", "b'<html>")),
        ("colours", UnreadableAnswer, ("'RGB'", "8-bit grey")),  # whose luma is anybody's guess
        ("sixteen-bits", UnreadableAnswer, ("8-bit grey",)),  # would be cut off at 255
        ("palette", UnreadableAnswer, ("'P'",)),  # numbers of colours
        ("huge-picture", WrongSize, ("3000 x 3000",)),  # not decoded
        ("endless", UnreadableAnswer, ("more than",)),
        ("gzip", UnreadableAnswer, ()),  # not unpacked
        ("vanish", ServerFailed, ("ended in the middle",)),
        ("crash", ServerFailed, ("500", "Traceback ?]0;mine? in line 7", "log")),
        ("nothing-there", ServerFailed, ("404", "me.toml, line 6 (http.url)")),
        ("moved", ServerFailed, ("302", "not followed", "line 6")),
        ("token", ServerFailed, ("401", "http.token_file is not given")),
        ("not-now", DeviceAway, ("503", "booting")),
    ],
)
def test_what_is_no_mask_is_an_error_of_its_own_and_the_next_frame_gets_its_own_answer(
    device, server, path, error, words
):
    broken = device(path)
    with pytest.raises(error) as caught:
        broken.maps([frame(77)])
    assert issubclass(error, DeviceFault) or error is DeviceAway
    check_error_and_recovery(broken, server, caught.value, words)


@pytest.mark.parametrize("path", ["drip", "drip-head"])
def test_bytes_without_an_end_are_too_late_however_many_come(device, server, path):
    broken = device(path)
    limit, error = too_late(broken, server, 0.5, 77)
    check_error_and_recovery(broken, server, error, (f"{limit:g} s", "time_limit"))


def too_late(driver, server, first, red):
    """The time limit that was enough to reach the server, and the error when it had run out."""
    for limit in longer_and_longer(first):
        driver._description = replace(driver._description, time_limit=limit)
        with pytest.raises((TooLate, DeviceAway)) as caught:  # away: not even connected, on a busy machine
            driver.maps([frame(red)])
        if isinstance(caught.value, TooLate) and server.seen:
            break
    driver._description = replace(driver._description, time_limit=PATIENT)
    return limit, caught.value


def check_error_and_recovery(broken, server, error, words):
    said = str(error)
    assert all(word in said for word in words), said
    assert said.isprintable() and len(said) < 600 and server.url("") not in said

    # The same driver object, as a worker keeps it: from now on the server behaves.
    broken._description.connection["url"] = server.url("good")
    assert broken.maps([frame(123)])[0].max() == 123


def test_an_answer_that_comes_too_late_is_never_taken_for_the_next_frames(device, server):
    late = device("late-if-red-is-50")
    too_late(late, server, 1.0, 50)
    clients = {client for client, _, _ in server.seen}
    assert late.maps([frame(210)])[0].max() == 210
    server.late.set()
    assert server.answered_late.wait(60)
    assert [late.maps([frame(red)])[0].max() for red in (90, 120)] == [90, 120]
    after = {client for client, _, body in server.seen if decode_rgb(body).max() != 50}
    assert after.isdisjoint(clients)  # not over the same connection


def test_a_server_that_takes_one_picture_at_a_time_is_not_away(device):
    with pytest.raises(ServerFailed, match="smaller batch"):
        device("one-at-a-time", batch=3).maps([frame()] * 3)
    assert len(device("one-at-a-time").maps([frame()] * 2)) == 2


def test_nobody_there(tmp_path):
    def shown(address, **keys):
        url = f"http://127.0.0.1:{address[1]}/"
        return opened(tmp_path / "me.toml", "http", {"url": url}, **keys).maps([frame()])

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        with pytest.raises(DeviceAway, match="refused"):
            shown(full.getsockname())
        full.listen(0)
        # It takes one connection and no more, as silent as a host without power.
        with socket.create_connection(full.getsockname()), pytest.raises(DeviceAway, match="no connection"):
            shown(full.getsockname(), time_limit=0.3)


def test_a_certificate_is_checked_against_the_described_authority(tmp_path):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ONE_CA.issue_cert("127.0.0.1").configure_cert(tls)
    for name, authority in (("one.pem", ONE_CA), ("other.pem", OTHER_CA)):
        authority.cert_pem.write_to_path(str(tmp_path / name))
    with device_server.running(tls) as server:
        there = {"url": server.url("good")}
        assert (
            len(
                opened(tmp_path / "me.toml", "http", {**there, "ca": "one.pem"}, time_limit=PATIENT).maps(
                    [frame()]
                )
            )
            == 1
        )
        for section in (there, {**there, "ca": "other.pem"}):
            with pytest.raises(DeviceAway, match=r"http\.ca"):
                opened(tmp_path / "me.toml", "http", section, time_limit=PATIENT).maps([frame()])
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(DeviceMisdescribed, match=r"line 6 \(http\.ca\)"):
        opened(tmp_path / "me.toml", "http", {**there, "ca": "no.pem"})


def test_the_token_is_sent_and_stands_in_no_error(device, server, tmp_path, caplog):
    caplog.set_level("DEBUG")
    own = {"token_file": secret(tmp_path / "token")}
    assert len(device("token", own).maps([frame()])) == 1
    with pytest.raises(ServerFailed) as caught:
        device("forbidden", own).maps([frame()])
    assert "the token *** is not known" in str(caught.value)
    assert "line 7 (http.token_file)" in str(caught.value)
    texts = [str(caught.value), repr(caught.value), caplog.text, str(device("good", own)._description)]
    assert not any(TOKEN in text for text in texts)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (TOKEN, 0o644, "mode 0644"),  # anybody's
        ("", 0o600, "no bearer token"),
        (f"{TOKEN}\r\nHost: elsewhere", 0o600, "no bearer token"),  # a second header
        ("schlüssel", 0o600, "no bearer token"),
    ],
)
def test_a_token_file_that_cannot_be_used_is_found_at_start(device, tmp_path, text, mode, words):
    with pytest.raises(DeviceMisdescribed, match=words) as caught:
        device("good", {"token_file": secret(tmp_path / "token", text, mode)})
    assert TOKEN not in str(caught.value)


def test_labels(device):
    answer = device("labels", {"answer": "label", "person_label": 15}).maps([frame(200)])[0]
    assert np.array_equal(answer, np.repeat([255, 0], 3)[:, None].repeat(8, axis=1))


@pytest.mark.parametrize("path", ["jpeg", "four-bits", "one-bit"])
def test_labels_that_went_through_a_scale_are_no_labels(device, path):
    with pytest.raises(UnreadableAnswer, match="8-bit grey PNG"):
        device(path, {"answer": "label", "person_label": 15}).maps([frame()])


def test_a_probability_may_have_fewer_bits(device):
    assert device("four-bits").maps([frame()])[0].tolist() == [[17] * 4 + [255] * 4] * 6
    assert device("one-bit").maps([frame()])[0].max() == 0


def test_a_mask_that_is_cut_anywhere_is_whole_or_an_error():
    values = np.zeros((24, 32), np.uint8)
    values[5:20, 8:24] = np.random.default_rng(7).integers(0, 256, (15, 16), np.uint8)
    sent, options, whole = Sent(b"", 32, 24), AnswerOptions(), 0
    for data in (encode_png(values), encode_jpeg(values)):
        expected = person_map(data, sent, options)
        for length in range(len(data)):
            try:
                found = person_map(data[:length], sent, options)
            except DeviceFault:
                continue
            whole += 1
            assert np.array_equal(found, expected)
    assert whole < 40  # cut within the marks behind the pixels


@pytest.mark.parametrize("natural", [False, True])
def test_a_png_of_which_one_bit_is_another_is_an_error(natural):
    rows, columns = np.mgrid[:24, :32]
    values = np.where((rows - 12) ** 2 + (columns - 16) ** 2 < 80, 255, 9).astype(np.uint8)
    data, sent = encode_png(values, natural), Sent(b"", 32, 24)
    assert np.array_equal(person_map(data, sent, AnswerOptions()), values)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UnreadableAnswer):
            found = person_map(bytes(changed), sent, AnswerOptions())
            pytest.fail(f"bit {bit} of {8 * len(data)}: {(found != values).sum()} pixels are others")


# --- the reference server ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    network = str(Tiny().write(folder / "red.tflite"))
    page = write_page(folder / "me.toml", "litert", {"model": network})
    with reference_server(page, "--token-file", secret(folder / "token")) as url:
        yield url


def asked(url, body=None, **changes):
    head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png", **changes}
    body = encode_png(frame(height=8)) if body is None else body
    return httpx.post(url, content=body, headers=head, timeout=60)


def test_the_reference_server_answers_pictures(reference, tmp_path):
    section = {"url": reference, "token_file": secret(tmp_path / "token")}
    answers = opened(tmp_path / "me.toml", "http", section, time_limit=PATIENT).maps(
        [frame(red, 8) for red in (40, 200)]
    )
    assert [m.max() for m in answers] == [40, 200]
    assert httpx.get(reference.replace("/mask", "/healthz"), timeout=60).json() == {"ok": True}


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"body": b"nothing"}, 400),
        ({"body": encode_png(frame())[:-30]}, 400),
        ({"Authorization": "Bearer other"}, 401),
        ({"Authorization": "Bearer schlüssel".encode()}, 401),
        ({"Authorization": ""}, 401),
        ({"Content-Type": "text/html"}, 415),
        ({"body": iter([b"chunked"])}, 411),
    ],
)
def test_the_reference_server_refuses(reference, wrong, status):
    answer = asked(reference, **wrong)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_the_reference_server_refuses_other_addresses(reference):
    assert httpx.get(reference, timeout=60).status_code == 405
    assert asked(reference.replace("/mask", "/mask/.."), body=b"").status_code == 404
    assert asked(reference).status_code == 200


def test_the_reference_server_does_not_read_what_is_too_large(reference):
    parts = httpx.URL(reference)
    connection = http.client.HTTPConnection(parts.host, parts.port, timeout=60)
    head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png", "Content-Length": "9" * 11}
    connection.request("POST", "/mask", headers=head)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "a-name"])
def test_the_reference_server_listens_to_others_only_with_a_token(host):
    with pytest.raises(DeviceMisdescribed, match="no token"):
        ReferenceServer(None, host)
    with ReferenceServer(None, "0.0.0.0", token=TOKEN) as server:
        assert not server.allows("")
