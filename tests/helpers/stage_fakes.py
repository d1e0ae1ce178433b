"""Synthetic people, teachers, devices and candidate frames: they stand in for models, never for stages."""

from dataclasses import dataclass, field

import numpy as np

from broker.artifacts import Artifacts
from broker.messages import Segment, SegmentResult, Video
from broker.recipe import ModelSpec, Recipe
from tasks.compare import Compare
from tasks.device_masks import DeviceMasks
from tasks.frames import Frames
from tasks.mask_generation import MaskGeneration
from tasks.pose_filter import PoseFilter
from workers.contracts import Instance, Person

WIDTH, HEIGHT = 96, 128
MODEL = ModelSpec(name="fake", version="1")

# A standing person, BODY_25, in a frame of 96 x 128: x, y.
STANDING = {
    0: (48, 20), 1: (48, 35), 2: (40, 35), 3: (34, 48), 4: (30, 60), 5: (56, 35), 6: (62, 48), 7: (66, 60),
    8: (48, 65), 9: (42, 65), 10: (41, 85), 11: (40, 105), 12: (54, 65), 13: (55, 85), 14: (56, 105),
    15: (46, 18), 16: (50, 18), 17: (44, 19), 18: (52, 19), 19: (58, 110), 20: (60, 110), 21: (55, 108),
    22: (38, 110), 23: (36, 110), 24: (41, 108),
}  # fmt: skip
MIRRORED = {
    2: 5, 3: 6, 4: 7, 9: 12, 10: 13, 11: 14, 15: 16, 17: 18, 19: 22, 20: 23, 21: 24,
}  # fmt: skip


def standing(shift=(0.0, 0.0), scale=1.0, **confidence):
    """25 x 3 float32; ``p4=0.1`` sets the confidence of point 4, all others have 0.9."""
    points = np.zeros((25, 3), np.float32)
    for index, (x, y) in STANDING.items():
        points[index] = (x * scale + shift[0], y * scale + shift[1], confidence.get(f"p{index}", 0.9))
    return points


def mirrored(points, width):
    """The pose in the mirrored picture, with left and right exchanged as a network would name them."""
    out = points.copy()
    out[:, 0] = width - points[:, 0]
    for left, right in MIRRORED.items():
        out[[left, right]] = out[[right, left]]
    return out


def person(points=None, score=0.95):
    points = standing() if points is None else points
    finite = np.nan_to_num(points[:, :2])
    low, high = finite.min(axis=0), finite.max(axis=0)
    return Person(keypoints=points, box=np.concatenate([low, high]).astype(np.float32), score=score)


def picture(seed=0, width=WIDTH, height=HEIGHT):
    """A picture with structure; two seeds give far perceptual hashes."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 6, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((height // 8, width // 6, 1), np.uint8))[:height, :width]


def body_mask(width=WIDTH, height=HEIGHT):
    mask = np.zeros((height, width), np.bool_)
    mask[12:116, 26:70] = True
    return mask


def instance(mask=None, **values):
    return Instance(mask=body_mask() if mask is None else mask, score=values.pop("score", 0.9), **values)


@dataclass
class FakeCandidate:
    time_ms: int
    pixels: object
    converted: int = 0

    def image(self):
        self.converted += 1
        if isinstance(self.pixels, BaseException):
            raise self.pixels
        return self.pixels


@dataclass
class Scripted:
    """Answers one item a call, in order; an exception in the script is raised."""

    answers: list
    batch_size: int = 1
    calls: int = 0
    loaded: int = 0
    seen: list = field(default_factory=list)

    def load(self):
        self.loaded += 1

    def _next(self):
        answer = self.answers[self.calls % len(self.answers)]
        self.calls += 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def find_people(self, images):
        return [self._next() for _ in images]

    def segment(self, images, second_look):
        self.seen.extend(second_look for _ in images)
        return [self._next() for _ in images]

    def maps(self, images):
        return [np.asarray(self._next()).astype(np.uint8) * 255 for _ in images]


def reader(candidates):
    def read(path, start_ms, end_ms, per_second, threads=1):
        assert path.is_file()
        yield from candidates

    return read


def make_segment(duration_ms=20_000, **recipe):
    video = Video(
        id="sha256:" + "a" * 64, source="clip.mp4", title="clip", width=WIDTH, height=HEIGHT,
        duration_ms=duration_ms, size_bytes=5, artifact="videos/clip.mp4",
    )  # fmt: skip
    made = Recipe(pose_model=MODEL, mask_model=MODEL, device_model=MODEL, **recipe)
    return Segment(job_id="job", video=video, recipe=made, index=0, start_ms=0, end_ms=duration_ms)


def make_frames(folder):
    folder.mkdir(exist_ok=True)
    artifacts = Artifacts(folder.as_uri())
    artifacts.put("videos/clip.mp4", b"video")
    return Frames(artifacts)


def run_pose(frames, candidates, answers, **recipe):
    stage = PoseFilter(Scripted(answers), read=reader(candidates))
    return stage.run(SegmentResult(segment=make_segment(**recipe)), frames)


def run_all(frames, candidates, people, instances, devices, **recipe):
    """All four stages in a plain loop."""
    result = SegmentResult(segment=make_segment(**recipe))
    stages = (
        PoseFilter(Scripted(people), read=reader(candidates)),
        MaskGeneration(Scripted(instances)),
        DeviceMasks(Scripted(devices)),
        Compare(),
    )
    for stage in stages:
        stage.load()
        result = stage.run(result, frames)
    return result


def candidates(count, step_ms=500):
    return [FakeCandidate(i * step_ms, picture(i)) for i in range(count)]


def touching():
    """A body whose mask runs over the lower edge."""
    mask = body_mask()
    mask[-1, 30:60] = True
    return mask


def half():
    """A body without its legs."""
    mask = body_mask()
    mask[40:] = False
    return mask
