"""Bad answers of a device: each is a typed error on its frame, or the device is away; never a wrong IoU."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_frames import STEP_MS, with_keepers

from broker.artifacts import Artifacts
from broker.errors import ArtifactMissing, DiskFull
from broker.messages import SegmentResult, Verdict
from broker.recipe import ModelSpec, Route, Stage
from tasks.compare import Compare
from tasks.device_masks import DeviceMasks
from tasks.device_pictures import as_seen, as_sent
from tasks.faults import BadModelOutput
from tasks.frame_store import FrameStore
from tasks.frames import Frames
from workers.device_turn import DeviceTurn, OwnCore, Turn
from workers.devices import errors, known_picture
from workers.devices.description import DeviceDescription
from workers.errors import ImageFailed
from workers.pictures import PictureDamaged, decode_rgb

SIZE = (24, 32)
"""Height and width of the frames."""
SPEC = ModelSpec(name="fake", version="cam-1", route=Route(device="cam", firmware="1"))
DESCRIBED = DeviceDescription(path=Path("me.toml"), spec=SPEC)
EVERYWHERE = np.full((6, 8), 255, np.uint8)
"""The teacher's mask too: IoU 1. As a device's answer it is in doubt: nobody fills a whole picture."""
WHOLE = np.where(np.arange(48).reshape(6, 8) > 0, EVERYWHERE, 0).astype(np.uint8)
"""All but a corner of it: easy."""
LEFT = np.repeat(np.repeat(np.array([[255] * 2 + [0] * 6], np.uint8), 6, axis=0), 1, axis=1)
"""A quarter of it: hard."""
NOBODY = np.zeros((6, 8), np.uint8)
PALE = np.full((6, 8), 120, np.uint8)
"""Below the threshold everywhere: nobody is seen, though nothing is 0."""
KNOWN = np.where(known_picture.embedded().truth[::10, ::10], 255, 0).astype(np.uint8)
FAULTS: tuple[type[errors.DeviceFault], ...] = (
    errors.WrongSize, errors.NotANumber, errors.TooLate, errors.UnreadableAnswer, errors.ServerFailed,
    errors.CommandFailed, errors.NothingWritten, errors.WroteOutside,
)  # fmt: skip


@dataclass
class Answers:
    """Answers each frame by its script, one entry a time it is asked for, the last for ever.

    The frames are told apart by their grey; an exception in a script is raised for the whole call.
    """

    scripts: Sequence[Sequence[Any]]
    known: Any = field(default_factory=lambda: KNOWN)
    batch_size: int = 1
    calls: list[list[int]] = field(default_factory=list)

    def load(self) -> None:
        pass

    def maps(self, images: Sequence[Any]) -> list[Any]:
        if images[0] is known_picture.embedded().picture:
            self.calls.append([-1])
            return [self._raised(self.known)]
        frames = [round(float(image.mean()) / 10) - 1 for image in images]
        turns = [sum(call.count(frame) for call in self.calls) for frame in frames]
        self.calls.append(frames)
        scripts = [self.scripts[frame] for frame in frames]
        return [self._raised(s[min(turn, len(s) - 1)]) for s, turn in zip(scripts, turns, strict=True)]

    @staticmethod
    def _raised(answer: Any) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer


def greys(count: int) -> list[Any]:
    return [np.full((*SIZE, 3), 10 * (number + 1), np.uint8) for number in range(count)]


def run(
    device: Answers, described: DeviceDescription | None = DESCRIBED, turn: Turn | None = None
) -> SegmentResult:
    """The device's stage and the comparison, on a frame for each script."""
    artifacts = Artifacts("memory:///")
    start = with_keepers(artifacts, greys(len(device.scripts)), described.spec if described else SPEC)
    drawn = DeviceMasks(device, described, turn).run(start, FrameStore(artifacts))
    frames = Frames(artifacts)
    return Compare().run(drawn, frames)


def fault(kind: type[errors.DeviceFault]) -> errors.DeviceFault:
    return kind("It went wrong.", "Look.")


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("kind", FAULTS)
def test_what_fails_twice_is_failed_by_its_code_and_costs_no_other_frame(
    kind: type[errors.DeviceFault], batch: int
) -> None:
    device = Answers([[WHOLE], [fault(kind)], [LEFT]], batch_size=batch)
    result = run(device)
    assert [k.verdict for k in result.keepers] == [Verdict.EASY, Verdict.FAILED, Verdict.HARD]
    assert [k.fault for k in result.keepers] == ["", kind.code, ""]
    assert result.keepers[1].iou is None
    assert sum(call.count(1) for call in device.calls) == 2
    assert [-1] in device.calls  # it was believed because the known picture came back right
    result.funnel()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "bad", [fault(errors.TooLate), NOBODY, EVERYWHERE, RuntimeError("delegate"), np.zeros((0, 4), np.uint8)]
)
def test_what_fails_once_is_asked_for_again_and_counts_for_nothing(bad: Any, batch: int) -> None:
    device = Answers([[WHOLE], [bad, LEFT]], batch_size=batch)
    result = run(device)
    assert [k.verdict for k in result.keepers] == [Verdict.EASY, Verdict.HARD]
    assert result.keepers[1].iou == pytest.approx(0.25, abs=0.05)
    assert [-1] not in device.calls


@pytest.mark.parametrize(
    "bad", [fault(errors.ServerFailed), NOBODY, EVERYWHERE, RuntimeError("the NPU is gone")]
)
@pytest.mark.parametrize(
    "known",
    [NOBODY, WHOLE, 255 - KNOWN, fault(errors.TooLate), RuntimeError("the NPU is gone"), OSError("wire")],
)
def test_a_device_that_does_not_answer_the_known_picture_is_away(bad: Any, known: Any) -> None:
    with pytest.raises(errors.DeviceAway, match="cam"):
        run(Answers([[WHOLE], [bad]], known))


@pytest.mark.parametrize(("answer", "verdict"), [(NOBODY, Verdict.HARD), (PALE, Verdict.HARD)])
def test_a_sane_device_may_see_nobody(answer: Any, verdict: Verdict) -> None:
    device = Answers([[WHOLE], [answer]])
    result = run(device)
    assert result.keepers[1].verdict == verdict
    assert result.keepers[1].iou == pytest.approx(0, abs=1e-6)
    assert [k.measures["device_empty"] for k in result.keepers] == [0, 1]
    assert all(k.measures["device_ms"] >= 0 for k in result.keepers)
    assert device.calls == [[0], [1], [1], [-1]]


def test_a_sane_device_may_see_a_person_everywhere() -> None:
    device = Answers([[LEFT], [EVERYWHERE]])
    result = run(device)
    assert [k.verdict for k in result.keepers] == [Verdict.HARD, Verdict.EASY]
    assert [k.measures["device_empty"] for k in result.keepers] == [0, 0]
    assert device.calls == [[0], [1], [1], [-1]]


def test_an_empty_mask_may_be_refused() -> None:
    refusing = SPEC.model_copy(update={"options": {"empty_masks": "refuse"}})
    result = run(Answers([[WHOLE], [NOBODY]]), DeviceDescription(path=Path("me.toml"), spec=refusing))
    assert [k.fault for k in result.keepers] == ["", "device_empty_mask"]


def test_a_device_that_is_only_emulated_is_believed_at_once() -> None:
    device = Answers([[NOBODY], [ImageFailed("It cannot.", "")], [LEFT]])
    result = run(device, described=None)
    assert [k.verdict for k in result.keepers] == [Verdict.HARD, Verdict.FAILED, Verdict.HARD]
    assert [k.fault for k in result.keepers] == ["", "image_failed", ""]
    assert device.calls == [[0], [1], [2]]
    assert "device_ms" not in result.keepers[0].measures  # so that two runs of one emulation are equal


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (np.zeros((6, 8, 2), np.uint8), "device_wrong_size"),
        (np.zeros((0, 0), np.uint8), "device_wrong_size"),
        (
            np.full((6, 8), np.nan, np.float32),
            BadModelOutput,
        ),  # every frame would fail so: the driver's fault
        (None, BadModelOutput),
    ],
)
def test_what_is_no_map_never_becomes_a_mask(answer: Any, outcome: Any) -> None:
    device = Answers([[WHOLE], [answer]])
    if isinstance(outcome, str):
        assert [k.fault for k in run(device).keepers] == ["", outcome]
        return
    with pytest.raises(outcome):
        run(device)


def test_a_driver_with_too_few_answers_fails_the_segment() -> None:
    class Few(Answers):
        def maps(self, images: Sequence[Any]) -> list[Any]:
            return super().maps(images)[:1]

    with pytest.raises(BadModelOutput, match="1 answers for 2 images"):
        run(Few([[WHOLE], [WHOLE]], batch_size=2))


TURNS = [None, DeviceTurn(), OwnCore()]
Behaviour = st.sampled_from(["whole", "left", "nobody", "fault", "late once", "empty once"])
SCRIPTS: dict[str, list[Any]] = {
    "whole": [WHOLE],
    "left": [LEFT],
    "nobody": [NOBODY],
    "fault": [fault(errors.UnreadableAnswer)],
    "late once": [fault(errors.TooLate), WHOLE],
    "empty once": [NOBODY, WHOLE],
}
EXPECTED = {
    "whole": Verdict.EASY, "left": Verdict.HARD, "nobody": Verdict.HARD, "fault": Verdict.FAILED,
    "late once": Verdict.EASY, "empty once": Verdict.EASY,
}  # fmt: skip


@settings(max_examples=60)
@given(
    st.lists(Behaviour, max_size=9),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from(TURNS),
)
def test_whatever_the_device_answers_times_and_funnel_add_up(
    behaviours: list[str], batch: int, sane: bool, turn: Turn | None
) -> None:
    # A batch of which one fails is asked for frame by frame: by then a fault that comes once may have passed.
    device = Answers([SCRIPTS[name] for name in behaviours], KNOWN if sane else NOBODY, batch)
    if not sane and {"nobody", "fault"} & set(behaviours):
        with pytest.raises(errors.DeviceAway):
            run(device, turn=turn)
        return
    result = run(device, turn=turn)
    assert [k.time_ms for k in result.keepers] == [STEP_MS * n for n in range(len(behaviours))]
    assert [k.verdict for k in result.keepers] == [EXPECTED[name] for name in behaviours]
    assert all((k.fault == "") == (k.verdict != Verdict.FAILED) for k in result.keepers)
    assert result.funnel().examined == len(behaviours)


# --- the pictures beside the device --------------------------------------------------------------


def threads() -> set[str]:
    return {t.name.split("_")[0] for t in threading.enumerate()} & {"pictures", "masks"}


def test_a_damaged_or_missing_picture_costs_its_frame() -> None:
    artifacts = Artifacts("memory:///")
    start = with_keepers(artifacts, greys(3), SPEC)
    artifacts.put(start.keepers[0].frame_key, b"\xff\xd8 cut off")
    artifacts.delete(start.keepers[2].frame_key)
    result = DeviceMasks(Answers([[WHOLE]] * 3), DESCRIBED).run(start, FrameStore(artifacts))
    assert [k.fault for k in result.keepers] == [PictureDamaged.code, "", ArtifactMissing.code]
    assert [bool(k.device_key) for k in result.keepers] == [False, True, False]


def test_in_turns_pictures_are_read_and_stored_while_the_device_is_anothers() -> None:
    seen: list[str] = []

    class Watched(DeviceTurn):
        most_bytes = 3 * 3 * SIZE[0] * SIZE[1]

        @contextmanager
        def taken(self) -> Iterator[None]:
            seen.append("turn")
            self.waited += 3600
            yield
            seen.append("end")

    class Device(Answers):
        def maps(self, images: Sequence[Any]) -> list[Any]:
            seen.append("drawn")
            return super().maps(images)

    class Store(FrameStore):
        def get(self, key: str) -> bytes:
            seen.append("read")
            return super().get(key)

        def put(self, key: str, encoded: bytes) -> None:
            seen.append("put")
            super().put(key, encoded)

    artifacts = Artifacts("memory:///")
    start = with_keepers(artifacts, greys(5), SPEC)
    artifacts.delete(start.keepers[4].frame_key)
    device = Device([[WHOLE]] * 5, batch_size=2)
    done = DeviceMasks(device, DESCRIBED, Watched()).run(start, Store(artifacts))
    # Three frames fill a turn; the batch of two is filled up. Of a lost one nothing is drawn.
    turn = ["turn", "drawn", "drawn", "end"]
    assert seen == ["read"] * 4 + turn + ["put"] * 4 + ["read", "turn", "end"]
    assert [bool(k.device_key) for k in done.keepers] == [True] * 4 + [False]
    assert done.seconds[Stage.ME] < -3600  # the waiting, which the stage did not work in, is taken off
    assert threads() == set()


@pytest.mark.parametrize("when", ["read", "shown", "stored"])
def test_what_is_no_frames_fault_arrives_in_the_caller_and_leaves_no_thread(when: str) -> None:
    artifacts = Artifacts("memory:///")
    start = with_keepers(artifacts, greys(8), SPEC)

    class Full(FrameStore):
        def get(self, key: str) -> bytes:
            assert "pictures" in threads()
            if when == "read" and key == start.keepers[5].frame_key:
                raise DiskFull("It is full.", "Make room.")
            return super().get(key)

        def put(self, key: str, encoded: bytes) -> None:
            if when == "stored" and key.endswith("000002500.png"):
                raise DiskFull("It is full.", "Make room.")
            super().put(key, encoded)

    scripts = [[WHOLE]] * 5 + [[KeyboardInterrupt() if when == "shown" else WHOLE]] + [[WHOLE]] * 2
    with pytest.raises(KeyboardInterrupt if when == "shown" else DiskFull):
        DeviceMasks(Answers(scripts), DESCRIBED).run(start, Full(artifacts))
    assert threads() == set()


@pytest.mark.parametrize("frames", ["png", "jpeg"])
@pytest.mark.parametrize("size", [(0, 0), (16, 12), (200, 300)])
def test_the_device_sees_the_same_pixels_whichever_way_they_come(frames: str, size: tuple[int, int]) -> None:
    route = Route(device="cam", firmware="1", width=size[0], height=size[1])
    spec = ModelSpec(name="fake", version="1", options={"frames": frames}, route=route)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    seen = as_seen(image, spec)
    assert seen.shape == ((size[1], size[0], 3) if size[0] else image.shape)
    assert (seen == decode_rgb(as_sent(image, spec))).all()
    assert (as_sent(image, spec)[:2] == b"\xff\xd8") == (frames == "jpeg")
