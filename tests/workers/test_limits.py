"""What the outcome of a fetch does to the breaker of its egress, on a real server."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.control import Control
from broker.egress import Egress
from broker.embedded import EmbeddedBroker
from broker.errors import Action, DiskFull, HardposeError
from broker.settings import Downloads, load_settings
from workers.downloads import errors
from workers.downloads.limits import HOST_PAUSE_SECONDS, egress_of, host_egress, is_answer, note


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    folder: Path = tmp_path_factory.mktemp("limits")
    with EmbeddedBroker(folder) as broker:
        yield Control(broker.url)


@pytest.fixture
def half_open(control: Control) -> Egress:
    """An egress whose pause is over; ``probe`` has its turn."""
    egress = Egress(control, f"test-{uuid.uuid4().hex}", 3_600_000, 10, PAUSE, 10 * PAUSE)
    egress.ask("unlucky")
    assert egress.poisoned("unlucky", "429") == PAUSE
    with control.server() as server:  # longer than any test takes; so it is put an end to
        server.hset(control.key(f"egress:{egress.identity}:state"), "until", "0")
    assert egress.ask("probe") is None
    return egress


PAUSE = 3600.0
OUTCOMES = [
    (None, "closed"),  # a video
    (errors.VideoPrivate("a", "b"), "closed"),  # a refusal of that video
    (errors.NotFoundOnServer("a", "b"), "closed"),  # so is a 404
    (errors.LicenceRefused("a", "b"), "closed"),  # our rule, but the site has answered
    (errors.VideoDamaged("a", "b"), "closed"),  # it came, and is no good
    (errors.BotCheck("a", "b"), "open"),  # the address is flagged
    (errors.TooManyRequests("a", "b"), "open"),  # so it is by a 429
    (errors.ServerBusy("a", "b"), "half_open"),  # says nothing about the address
    (errors.ExtractionFailed("a", "b"), "half_open"),  # the tool, or a wall that it does not know
    (errors.RefusedByServer("a", "b"), "half_open"),  # a 403 may be aimed at the address
    (errors.PrivateAddress("a", "b"), "half_open"),  # our guard stopped it
    (errors.ToolMissing("a", "b"), "half_open"),  # nothing was asked
    (DiskFull("a", "b"), "half_open"),  # our own trouble
    (RuntimeError("a"), "half_open"),  # a defect
]


@pytest.mark.parametrize(("error", "state"), OUTCOMES)
def test_each_outcome_of_the_probe_moves_the_breaker_as_it_should(
    half_open: Egress, error: BaseException | None, state: str
) -> None:
    seconds = note(half_open, "probe", error)
    assert half_open.view().breaker == state
    assert seconds == pytest.approx(2 * PAUSE if state == "open" else 0)  # doubled: the probe was refused
    if state == "half_open":
        assert half_open.ask("next") is None  # another one may try


def test_every_error_of_a_download_is_judged() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    downloads = [kind for kind in kinds if issubclass(kind, errors.DownloadError)]
    assert len(downloads) > 30
    answers = {kind.__name__ for kind in downloads if is_answer(kind("a", "b"))}
    assert {"VideoRemoved", "MembersOnly", "AgeRestricted", "RegionBlocked", "LiveStream"} < answers
    assert not [kind for kind in downloads if kind.action != Action.PERMANENT and kind.__name__ in answers]
    assert not is_answer(HardposeError("a", "b"))


def test_the_settings_are_what_is_asked_by(control: Control) -> None:
    chosen = Downloads(egress="lab", videos_per_hour=6, burst=2, breaker_pause_seconds=7)
    egress = egress_of(load_settings(downloads=chosen), control)
    assert [egress.ask("a"), egress.ask("b")] == [None, None]
    assert egress.ask("c") is not None
    view = egress.view()
    assert (view.identity, view.videos_per_hour, view.burst, view.granted) == ("lab", 6, 2, 2)
    assert note(egress, "a", errors.BotCheck("a", "b")) == pytest.approx(7)


def test_two_settings_of_one_name_share_one_bucket(control: Control) -> None:
    settings = load_settings(downloads=Downloads(egress="shared", videos_per_hour=6, burst=1))
    assert egress_of(settings, control).ask("a") is None
    assert egress_of(settings, Control(*_address(control))).ask("b") is not None


def _address(control: Control) -> tuple[str]:
    with control.server() as server:
        options = server.connection_pool.connection_kwargs
    return (f"redis://:{options['password']}@{options['host']}:{options['port']}/0",)


def test_a_host_that_says_429_is_left_alone_and_no_other(control: Control) -> None:
    host = host_egress(control, "Files.Example.")
    assert all(host.ask(f"v{i}") is None for i in range(100))  # no rate
    note(host, "v1", errors.TooManyRequests("a", "b"))
    wait = host_egress(control, "files.example").ask("v2")
    assert wait is not None
    assert HOST_PAUSE_SECONDS / 2 < wait.seconds <= HOST_PAUSE_SECONDS
    assert host_egress(control, "other.example").ask("v3") is None


def test_an_egress_name_cannot_be_taken_for_a_hosts() -> None:
    with pytest.raises(ValidationError):
        Downloads(egress="host:files.example")
