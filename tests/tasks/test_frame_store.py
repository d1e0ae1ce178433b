"""Pictures on their way to and from a real S3 server while a stage works."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import AWS, BUCKET, s3_server

from broker.artifacts import ArtifactKeyError, Artifacts, ArtifactsUnreachable
from broker.errors import ArtifactMissing
from tasks.frame_store import AHEAD, FrameStore

COUNT = 3 * AHEAD
MANY = 1000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifacts]:
    folder = tmp_path_factory.mktemp("s3")
    with s3_server(folder) as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in {**AWS, "AWS_ENDPOINT": endpoint}.items():
            patch.setenv(name, value)
        yield Artifacts(f"s3://{BUCKET}/test", temp_dir=folder)


def key(way: str, number: int) -> str:
    return f"{way}/{number:04d}.jpg"


def test_all_that_was_written_is_there_at_the_end(store: Artifacts) -> None:
    with FrameStore(store) as frames:
        for number in range(COUNT):
            frames.put(key("there", number), bytes([number]) * 1000)
            assert frames.get(key("there", number)) == bytes([number]) * 1000
    assert [store.get(key("there", n)) for n in range(COUNT)] == [bytes([n]) * 1000 for n in range(COUNT)]


def test_what_could_not_be_written_is_told_before_the_result_is(store: Artifacts) -> None:
    with pytest.raises(ArtifactKeyError), FrameStore(store) as frames:
        frames.put(key("beside", 0), b"2")
        frames.put("../outside", b"1")
    assert store.get(key("beside", 0)) == b"2"


class Away(Artifacts):
    """A store that does not answer: each picture is tried for a while, and given up."""

    tried = 0

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.tries = threading.Event()
        """Until then no picture is given up."""

    def put(self, key: str, data: bytes) -> None:
        self.tried += 1  # in several threads, where a few that are not counted change nothing
        assert self.tries.wait(120)
        time.sleep(0.1)
        raise ArtifactsUnreachable("away", "wait")


@pytest.mark.parametrize("own", [False, True])
def test_a_store_that_is_away_is_not_waited_for_picture_by_picture(store: Artifacts, own: bool) -> None:
    away = Away(store.url)
    with pytest.raises(ZeroDivisionError if own else ArtifactsUnreachable), FrameStore(away) as frames:
        for number in range(MANY):
            frames.put(key("away", number), b"1")
        away.tries.set()
        if own:
            raise ZeroDivisionError
    # A few more than there are threads, if this one is slow to hear of the first; all take half a minute.
    assert 1 <= away.tried < MANY / 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


def test_a_stage_is_told_while_it_works(store: Artifacts) -> None:
    away = Away(store.url)
    away.tries.set()
    with pytest.raises(ArtifactsUnreachable), FrameStore(away) as frames:
        for number in range(MANY):
            frames.put(key("away", number), b"1")
            time.sleep(0.01)
        pytest.fail("it has gone on for a thousand pictures")


def test_the_stage_s_own_error_is_the_one_that_is_told(store: Artifacts) -> None:
    with pytest.raises(ZeroDivisionError), FrameStore(store) as frames:
        frames.put("../outside", b"1")
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "asked",
    [
        list(range(COUNT)),  # as it was said
        list(range(0, COUNT, 2)),  # some are not asked for
        list(reversed(range(COUNT))),  # the other way round
        [3, 3, 0, COUNT + 1],  # twice, and one that nobody has named
    ],
)
def test_what_is_expected_is_what_is_there(store: Artifacts, asked: list[int]) -> None:
    for number in range(COUNT + 2):
        if not store.exists(key("read", number)):
            store.put(key("read", number), bytes([number]) * 500)
    with FrameStore(store) as frames:
        frames.expect(key("read", number) for number in range(COUNT))
        assert len(frames._coming) == AHEAD
        for number in asked:
            assert frames.get(key("read", number)) == bytes([number]) * 500
            assert len(frames._coming) <= AHEAD


def test_one_that_is_gone_is_missed_by_who_asks_for_it(store: Artifacts) -> None:
    store.put(key("some", 0), b"0")
    with FrameStore(store) as frames:
        frames.expect([key("some", 0), key("some", 1)])
        assert frames.get(key("some", 0)) == b"0"
        with pytest.raises(ArtifactMissing):
            frames.get(key("some", 1))


def test_a_folder_is_written_at_once(tmp_path: Path) -> None:
    with FrameStore(Artifacts(str(tmp_path / "store"))) as frames:
        frames.put("a/b.jpg", b"1")
        assert (tmp_path / "store" / "a" / "b.jpg").read_bytes() == b"1"
