"""Models that look at several pictures at once: the size of the batch changes neither result nor blame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_fakes import (
    HEIGHT,
    WIDTH,
    FakeCandidate,
    instance,
    make_frames,
    make_segment,
    person,
    picture,
    reader,
    standing,
)

from broker.messages import SegmentResult, Verdict
from tasks.faults import BadModelOutput
from tasks.looks import look
from tasks.mask_generation import MaskGeneration
from tasks.pose_filter import PoseFilter
from workers.downloads.errors import FrameUndecodable
from workers.errors import ImageFailed, OutOfMemory


class ByPicture:
    """Answers by the number in the picture; one bad picture fails the whole call. Notes its batches."""

    def __init__(self, answers, batch_size):
        self.answers, self.batch_size, self.sizes = answers, batch_size, []

    def load(self):
        pass

    def find_people(self, images):
        self.sizes.append(len(images))
        answers = [self.answers[number_of(image)] for image in images]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def segment(self, images, second_look):
        return self.find_people(images)


def numbered(number):
    """A picture of its own whose corner tells its number, also after JPEG."""
    image = np.ascontiguousarray(picture(number))
    image[:16, :16] = number * 12
    return image


def number_of(image):
    return round(float(image[2:6, 2:6].mean()) / 12)


def unreadable():
    return FrameUndecodable("damaged", "a whole copy")


POSES = (
    [],
    [person()],
    [person(standing(shift=(-8, 0)))],
    [person(), person()],
    [person(standing(p4=0.0))],
    ImageFailed("this picture ends the process", "none"),
    ValueError("strange numbers"),
)
FRAMES = st.lists(st.tuples(st.integers(1, 400), st.sampled_from(range(len(POSES) + 1))), max_size=20)


def scan(folder, rows, batch_size):
    """The pose stage over frames ``rows`` (milliseconds since the last one, what is seen)."""
    time_ms, candidates, answers = 0, [], {}
    for number, (step, kind) in enumerate(rows):
        time_ms += step
        seen = unreadable() if kind == len(POSES) else numbered(number)
        answers[number] = POSES[kind] if kind < len(POSES) else []
        candidates.append(FakeCandidate(time_ms, seen))
    model = ByPicture(answers, batch_size)
    stage = PoseFilter(model, read=reader(candidates))
    done = stage.run(SegmentResult(segment=make_segment()), make_frames(folder))
    return done, model


@given(rows=FRAMES, batch_size=st.integers(2, 9))
def test_the_size_of_the_batch_does_not_change_what_the_pose_stage_decides(
    tmp_path_factory, rows, batch_size
):
    folder = tmp_path_factory.mktemp("frames")
    alone, _ = scan(folder, rows, 1)
    together, _ = scan(folder, rows, batch_size)
    assert together.examined == alone.examined == len(rows)
    assert together.keepers == alone.keepers
    assert together.drops == alone.drops


def test_the_model_is_asked_for_whole_batches(tmp_path):
    _, model = scan(tmp_path, [(200, 0)] * 10, 4)
    assert model.sizes == [4, 4, 2]


def test_a_frame_too_soon_after_a_keep_is_not_looked_at(tmp_path):
    done, model = scan(tmp_path, [(100, 1), (100, 0), (100, 0), (400, 0)], 1)
    assert model.sizes == [1, 1]
    assert [drop.verdict for drop in done.drops] == [Verdict.TOO_SOON, Verdict.TOO_SOON, Verdict.NO_PERSON]


def test_a_picture_that_a_model_cannot_take_costs_only_itself():
    fault = ImageFailed("bad", "none")
    model = ByPicture({0: [], 1: fault, 2: [person()]}, 8)
    found = look([numbered(i) for i in range(3)], model.find_people)
    assert found[0] == []
    assert found[1] is fault
    assert len(found[2]) == 1
    assert model.sizes == [3, 1, 1, 1]


def test_what_no_picture_causes_is_no_pictures_fault():
    model = ByPicture({0: [], 1: OutOfMemory("full", "smaller")}, 8)
    with pytest.raises(OutOfMemory):
        look([numbered(0), numbered(1)], model.find_people)


def test_a_model_that_answers_too_little_is_named():
    with pytest.raises(BadModelOutput, match="1 answers for 2 images"):
        look([numbered(0), numbered(1)], lambda images: [[]])


def test_looking_at_nothing_asks_nobody():
    assert look([], lambda images: pytest.fail("it was asked")) == []


def masked(folder, kinds, batch_size):
    """The pose stage one by one, then the mask stage in batches over what it kept."""
    good, several, fault = [instance()], [instance(), instance()], ImageFailed("bad", "none")
    frames = make_frames(folder)
    candidates = [FakeCandidate(i * 600, numbered(i)) for i in range(len(kinds))]
    poses = {i: [person(standing(shift=(-3 * (i % 4), 0)))] for i in range(len(kinds))}
    pose = PoseFilter(ByPicture(poses, 1), read=reader(candidates))
    kept = pose.run(SegmentResult(segment=make_segment()), frames)
    assert len(kept.keepers) == len(kinds)
    answers = {"good": good, "several": several, "none": [], "fault": fault}
    teacher = ByPicture([answers[kind] for kind in kinds], batch_size)
    return MaskGeneration(teacher).run(kept, frames), teacher


KINDS = ["good", "several", "fault", "none", "good"]
VERDICTS = [None, Verdict.TEACHER_SEVERAL, Verdict.FAILED, Verdict.TEACHER_NONE, None]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_every_kept_frame_gets_its_own_mask_whatever_the_batch(tmp_path, batch_size):
    done, teacher = masked(tmp_path, KINDS, batch_size)
    assert [keeper.verdict for keeper in done.keepers] == VERDICTS
    assert max(teacher.sizes) == min(batch_size, len(KINDS))


def test_a_stored_frame_that_is_gone_costs_only_itself(tmp_path):
    frames = make_frames(tmp_path)
    candidates = [FakeCandidate(i * 600, numbered(i)) for i in range(3)]
    poses = {i: [person(standing(shift=(-3 * i, 0)))] for i in range(3)}
    kept = PoseFilter(ByPicture(poses, 1), read=reader(candidates)).run(
        SegmentResult(segment=make_segment()), frames
    )
    elsewhere = make_frames(tmp_path)  # a process that has not written them itself
    (tmp_path / kept.keepers[1].frame_key).unlink()
    done = MaskGeneration(ByPicture([[instance()]] * 3, 8)).run(kept, elsewhere)
    assert [keeper.verdict for keeper in done.keepers] == [None, Verdict.FAILED, None]
    assert done.keepers[0].mask_key
    assert elsewhere.mask(done.keepers[2].mask_key).shape == (HEIGHT, WIDTH)
