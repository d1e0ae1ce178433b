"""The services of docker-compose.yml's profile ``cpu``, started without Docker from the file's own words."""

import copy
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from compose_file import ROOT, read_compose
from containers import VISITOR, Container, Containers, address, containers, health_line, wait
from hardpose_process import PATIENCE_SECONDS
from namespaces import NotPermitted, require_programs

from broker.settings import load_settings

pytestmark = pytest.mark.system

CLIP = "SinglePerson_cam03"
"""Of two seconds; one of its frames is hard."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Path]) -> Iterator[Containers]:
    """Every service of the profile, well."""
    require_programs("ip", "unshare", "nsenter", "setpriv", "wget", "redis-cli", "pg_isready", "curl")
    folder = tmp_path_factory.mktemp("compose")
    subprocess.run(
        ["sh", ROOT / "deploy" / "secrets.sh", folder / "secrets"], check=True, capture_output=True
    )
    document = read_compose(
        variables={"HARDPOSE_SECRETS": str(folder / "secrets"), "HARDPOSE_ALLOW_NETWORKS": '["10.79.0.0/16"]'}
    )
    services = document["services"]
    services["worker-pose-2"] = services["worker-pose"]  # as `--scale worker-pose=2` makes one
    names = [name for name, service in services.items() if "cpu" in service["profiles"]]
    bring_weights(folder / "volumes" / "weights")
    try:
        with containers(folder, document, names) as made:
            made.publish()
            made.serve(sys.executable, "-m", "http.server", "80", "-d", clips[CLIP].parent)
            made.start_all(names)
            yield made
    except NotPermitted as error:
        pytest.skip(f"no hosts of our own: {error}")


def bring_weights(volume: Path) -> None:
    """What the service ``weights`` would fetch from the internet; it finds them there."""
    volume.mkdir(parents=True)
    store = load_settings().weights_dir
    found = [path for path in store.iterdir() if path.suffix == ".tflite"]
    assert len(found) >= 3
    for path in found:
        (volume / path.name).write_bytes(path.read_bytes())


def secret(system: Containers, name: str) -> str:
    return Path(system.document["secrets"][name]["file"]).read_text().strip()


def ask(system: Containers, url: str, *more: str, token: str | None = None) -> tuple[int, str]:
    """Status and body of an answer at what is published, asked for on the machine outside."""
    given = ["-H", f"Authorization: Bearer {token}"] if token else []
    done = system.visit("curl", "-sS", "-m", "240", "-w", "\n%{http_code}", *given, *more, url)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def followed(system: Containers, job: str, token: str, seconds: float = 600) -> dict[str, Any]:
    """The last event of a job; a stream that is cut is asked for again, as a browser does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        line = ["curl", "-sS", "-m", "40", "-H", f"Authorization: Bearer {token}", f"{API}/jobs/{job}/events"]
        text = system.visit(*line).stdout
        found = re.findall(r"^event: finished\r?$.*?^data: (.*?)\r?$", text, re.MULTILINE | re.DOTALL)
        if found:
            return dict(json.loads(found[-1]))
    raise AssertionError({name: made.said()[-1500:] for name, made in system.running.items()})


API, FLOWER = "http://127.0.0.1:8642", "http://127.0.0.1:5555"


def test_a_job_goes_through_the_published_api(system: Containers) -> None:
    admin = secret(system, "api_tokens").splitlines()[1].split(":")[2]
    link = f"http://{address(system.document, VISITOR, 'outside')}/{CLIP}.mp4"
    assert ask(system, f"{API}/jobs")[0] == 401
    status, body = ask(
        system, f"{API}/jobs", "-H", "Content-Type: application/json",
        "-d", json.dumps({"links": [link]}), token=admin,
    )  # fmt: skip
    assert status == 202, body
    job = json.loads(body)["job_id"]
    last = followed(system, job, admin)
    logs = {name: made.said()[-1500:] for name, made in system.running.items() if name.startswith("worker")}
    assert last["state"] == "done", (last, logs)
    status, body = ask(system, f"{API}/frames?job={job}&verdict=hard", token=admin)
    items = json.loads(body)["items"]
    assert len(items) == 1, (last, logs)
    (frame,) = items
    picture = system.folder / "overlay.jpg"
    status, _ = ask(system, f"{API}/frames/{frame['id']}/images/overlay", "-o", str(picture), token=admin)
    assert status == 200 and picture.read_bytes()[:3] == b"\xff\xd8\xff"
    assert list((system.folder / "volumes" / "s3").glob("hardpose_*.dat")), "the pixels are in the S3 store"


def test_prometheus_gets_its_numbers_with_its_token(system: Containers) -> None:
    assert ask(system, f"{API}/metrics")[0] == 401

    def numbers() -> str:
        status, text = ask(system, f"{API}/metrics", token=secret(system, "metrics_token"))
        assert status == 200
        return text

    for name in ("broker", "catalog"):  # one that does not answer in time is told of as away
        wait(lambda name=name: f"hardpose_{name}_up 1.0" in numbers(), name)  # type: ignore[misc]
    order = ("-H", "Content-Type: application/json", "-d", '{"links": ["https://example.org/a.mp4"]}')
    assert ask(system, f"{API}/jobs", *order, token=secret(system, "metrics_token"))[0] == 403


def test_flower_asks_for_its_password(system: Containers) -> None:
    assert ask(system, f"{FLOWER}/api/workers")[0] == 401
    assert ask(system, f"{FLOWER}/api/workers", "-u", "hardpose:wrong")[0] == 401
    login = secret(system, "flower_auth")

    def workers() -> int:
        status, body = ask(system, f"{FLOWER}/api/workers?refresh=1", "-u", login)
        assert status == 200
        return len(json.loads(body))

    wait(lambda: workers() == 7, "Flower to see all workers")


def test_nobody_reaches_what_is_not_his(system: Containers) -> None:
    pose, api = system.running["worker-pose"], system.running["api"]
    for name, known in {"valkey": True, "s3": True, "postgres": False, "api": True}.items():
        assert (system.inside(pose, ["getent", "hosts", name]).returncode == 0) is known, name
    assert system.inside(api, ["getent", "hosts", "postgres"]).returncode == 0
    connect = (
        "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))"
    )
    doors = {("api", "front", 8642): True, ("valkey", "queue", 6379): False, ("s3", "store", 8333): False}
    for (name, network, port), opens in doors.items():
        host = address(system.document, name, network)
        done = system.visit(sys.executable, "-c", connect, host, str(port), "60" if opens else "2")
        assert (done.returncode == 0) is opens, (name, done.stderr)


def test_a_container_is_what_the_file_says(system: Containers) -> None:
    for name, made in system.running.items():
        if name == "weights":  # it has ended
            continue
        status = Path(f"/proc/{made.process.pid}/status").read_text()
        values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in values["Uid"].split(), name
        assert values["CapEff"] == values["CapBnd"] == "0" * 16 and values["NoNewPrivs"] == "1"
        assert system.inside(made, ["touch", "/here"]).returncode != 0
        assert system.inside(made, ["touch", "/tmp/here"]).returncode == 0
    words = {
        each: secret(system, each) for each in ("broker_password", "artifacts_secret_key", "catalog_password")
    }
    alive = [made for made in system.running.values() if made.process.poll() is None]
    assert len(alive) == len(system.running) - 1  # all but `weights`
    for made in alive:
        for process in (psutil.Process(made.process.pid), *psutil.Process(made.process.pid).children(True)):
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                line = " ".join(process.cmdline())
                assert not [each for each, word in words.items() if word in line]
        assert not [each for each, word in words.items() if word in json.dumps(made.environment)]
        assert not [each for each, word in words.items() if word in made.said()], made.name


def mutated(system: Containers, name: str, **changes: Any) -> dict[str, Any]:
    """The service with parts of it changed; a variable that is changed to None is taken out."""
    service: dict[str, Any] = copy.deepcopy(system.document["services"][name])
    variables = service["environment"] | changes.pop("environment", {})
    service["environment"] = {each: text for each, text in variables.items() if text is not None}
    return service | changes


WRONG = [  # what is changed, and a word of the complaint
    ({"command": ["worker", "poze"]}, "poze"),
    ({"environment": {"HARDPOSE_BROKER_URL": None, "HARDPOSE_BROKR_URL": "redis://valkey/0"}}, "No broker"),
    ({"environment": {"HARDPOSE_BROKER_PASSWORD_FILE": "/run/secrets/brokr"}}, "/run/secrets/brokr"),
    ({"environment": {"HARDPOSE_BROKER_PASSWORD_FILE": None}}, "refuses"),
]


def test_a_wrong_word_in_the_file_is_caught(system: Containers) -> None:
    made = system.running["worker-pose"]
    wait(lambda: system.healthy(made), "a worker that is well")
    wrong = [word.replace("9464", "9465") for word in health_line(made.service)]
    assert wrong != health_line(made.service) and system.inside(made, wrong).returncode != 0
    assert system.stop("worker-pose") == 0  # it has nothing to finish
    tried = []
    for changes, words in WRONG:
        tried.append((system.start("worker-pose", mutated(system, "worker-pose", **changes)), words))
    for made, words in tried:
        wait(lambda made=made: made.process.poll() is not None, f"{words}: it does not end")  # type: ignore[misc]
        assert made.process.returncode != 0 and words in made.said(), (made.process.returncode, made.said())
    system.running.pop("worker-pose")


def hears_sigterm(made: Container) -> bool:
    """Whether its program has asked for that signal."""
    status = Path(f"/proc/{made.process.pid}/status").read_text()
    (mask,) = re.findall(r"^SigCgt:\t(\w+)$", status, re.MULTILINE)
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def test_a_worker_that_is_still_starting_ends_well(system: Containers) -> None:
    made = system.start("worker-pose")
    wait(lambda: hears_sigterm(made), "it does not ask for SIGTERM")
    assert system.stop("worker-pose") == 0, made.said()


def test_all_end_when_they_are_told(system: Containers) -> None:
    """The last test: nothing runs afterwards."""
    workers = [name for name in system.running if name.startswith("worker-")]
    assert len(workers) >= 6
    stopped = [system.running.pop(name) for name in (*workers, "api", "valkey")]
    for made in stopped[:-1]:
        made.process.terminate()
    codes = {made.name: made.process.wait(PATIENCE_SECONDS) for made in stopped[:-1]}
    odd = {made.name: made.said()[-1500:] for made in stopped[:-1] if codes[made.name]}
    assert set(codes.values()) == {0}, odd
    stopped[-1].process.terminate()
    assert stopped[-1].process.wait(PATIENCE_SECONDS) == 0
