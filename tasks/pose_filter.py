"""The pose stage: which frames of a segment show exactly one whole person, and are new."""

from collections.abc import Callable, Iterator
from pathlib import Path

from broker.messages import Drop, Keeper, Keypoints, Segment, SegmentResult, Verdict
from broker.recipe import Stage
from tasks.crops import perceptual_hash, person_crop, sharpness
from tasks.duplicates import find_repeated, nearest
from tasks.faults import FAILED_VALUE, BadModelOutput, frame_faults, log_fault
from tasks.frames import Frames
from tasks.full_body import BodyReading, Points, clean_points, judge_body, read_body
from tasks.looks import look, or_raise
from tasks.timing import Stopwatch
from workers.contracts import Image, Person, PoseModel
from workers.video import Candidate, read_candidates

CandidateReader = Callable[[Path, int, int, float, int], Iterator[Candidate]]
"""(path, start_ms, end_ms, per_second, threads) -> the candidate frames by time."""


class PoseFilter:
    """Stage ``pose``.

    Args:
        pose_model: finds the people.
        threads: threads of the video decoder.
        read: where candidate frames come from.

    Keeps are at least 1/keeps_per_second apart within a segment; segments know nothing of each other.
    """

    stage = Stage.POSE

    def __init__(
        self, pose_model: PoseModel, threads: int = 1, read: CandidateReader = read_candidates
    ) -> None:
        self._model = pose_model
        self._threads = threads
        self._read = read

    def load(self) -> None:
        """Loads the pose model."""
        self._model.load()

    def run(self, result: SegmentResult, frames: Frames) -> SegmentResult:
        """Examines the segment anew, whatever ``result`` already holds, and stores the kept frames.

        Raises:
            HardposeError: if the video is missing or damaged, or the process cannot work at all.
        """
        watch = Stopwatch()
        segment = result.segment
        scan = Scan(segment, frames, self._model)
        per_second = segment.recipe.sampling.candidates_per_second
        with frames.source(segment) as path:
            for candidate in self._read(path, segment.start_ms, segment.end_ms, per_second, self._threads):
                scan.examine(candidate)
            scan.finish()
        found = {"examined": scan.examined, "keepers": tuple(scan.keepers), "drops": tuple(scan.drops)}
        return watch.stamp(result.model_copy(update=found), Stage.POSE)


class Scan:
    """One walk through a segment, by time. Holds as many decoded frames as the model looks at in one call.

    The model may look at frames that turn out to follow a kept one too soon; its answer is then not used, so
    the result does not depend on the size of the batch.
    """

    def __init__(self, segment: Segment, frames: Frames, model: PoseModel) -> None:
        self._segment = segment
        self._recipe = segment.recipe
        self._frames = frames
        self._model = model
        self._waiting: list[Candidate] = []
        self.examined = 0
        self.keepers: list[Keeper] = []
        self.drops: list[Drop] = []

    def examine(self, candidate: Candidate) -> None:
        """Counts the candidate; it joins the keepers or the drops once the model has looked at its batch."""
        self.examined += 1
        if drop := self._too_soon(candidate.time_ms):
            # Frames that wait are later than the last keep by enough, and this one is later still: so
            # nothing waits here, and the drops stay in the order of time.
            self.drops.append(drop)
            return
        self._waiting.append(candidate)
        if len(self._waiting) >= self._model.batch_size:
            self.finish()

    def finish(self) -> None:
        """Decides on everything that still waits."""
        waiting, self._waiting = self._waiting, []
        pictures = [_picture(candidate) for candidate in waiting]
        images = [picture for picture in pictures if not isinstance(picture, Exception)]
        found = iter(look(images, self._model.find_people))
        for candidate, picture in zip(waiting, pictures, strict=True):
            people = picture if isinstance(picture, Exception) else next(found)
            self._put(self._too_soon(candidate.time_ms) or self._decide(candidate.time_ms, picture, people))

    def _put(self, outcome: Keeper | Drop) -> None:
        if isinstance(outcome, Keeper):
            self.keepers.append(outcome)
        else:
            self.drops.append(outcome)

    def _too_soon(self, time_ms: int) -> Drop | None:
        if not self.keepers:
            return None
        since = time_ms - self.keepers[-1].time_ms
        if since * self._recipe.sampling.keeps_per_second >= 1000:
            return None
        return Drop(time_ms=time_ms, verdict=Verdict.TOO_SOON, value=since)

    def _decide(
        self, time_ms: int, picture: Image | Exception, people: list[Person] | Exception
    ) -> Keeper | Drop:
        try:
            verdict = self._judge(time_ms, or_raise(picture), or_raise(people))
        except frame_faults() as error:
            log_fault(self._segment.key, time_ms, Stage.POSE, error)
            verdict = (Verdict.FAILED, FAILED_VALUE)
        if isinstance(verdict, Keeper):
            return verdict
        return Drop(time_ms=time_ms, verdict=verdict[0], value=verdict[1])

    def _judge(self, time_ms: int, image: Image, people: list[Person]) -> Keeper | tuple[Verdict, float]:
        if len(people) != 1:
            return (Verdict.SEVERAL_PEOPLE if people else Verdict.NO_PERSON), len(people)
        points = _points(people[0])
        body = read_body(points, image.shape[1], image.shape[0], self._recipe.rule)
        return judge_body(body, self._recipe.rule) or self._compare(time_ms, image, people[0], points, body)

    def _compare(
        self, time_ms: int, image: Image, person: Person, points: Points, body: BodyReading
    ) -> Keeper | tuple[Verdict, float]:
        confident = self._recipe.rule.min_confidence
        crop = person_crop(image, points, confident)
        sharp = sharpness(crop)
        if sharp < self._recipe.rule.min_sharpness:
            return Verdict.BLURRED, sharp
        keypoints, phash = _keypoints(points), perceptual_hash(crop)
        repeated = find_repeated(keypoints, phash, self.keepers, self._recipe.duplicates, confident)
        if repeated is not None:
            return Verdict.NEAR_DUPLICATE, repeated[0]
        measures = {"people": 1.0, "person_score": float(person.score), "sharpness": sharp, **_body(body)}
        closest = nearest(keypoints, phash, self.keepers, confident)
        if closest is not None:
            measures |= {"pose_distance": closest[0], "hash_distance": float(closest[1])}
        key = self._segment.artifact_key(Stage.POSE, time_ms, "jpg")
        self._frames.put_image(key, image)
        return Keeper(
            time_ms=time_ms, keypoints=keypoints, box=_box(person), frame_key=key, phash=phash,
            measures=measures,
        )  # fmt: skip


def _picture(candidate: Candidate) -> Image | Exception:
    try:
        return candidate.image()
    except frame_faults() as error:
        return error


def _points(person: Person) -> Points:
    if person.keypoints.shape != (25, 3):
        raise BadModelOutput(
            f"The pose model gave keypoints of shape {person.keypoints.shape} instead of (25, 3).",
            "Its adapter has to answer in BODY_25: 25 rows of x, y, confidence.",
        )
    return clean_points(person.keypoints)


def _keypoints(points: Points) -> Keypoints:
    return tuple((float(x), float(y), float(c)) for x, y, c in points)


def _box(person: Person) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(v) for v in person.box)
    return x0, y0, x1, y1


def _body(body: BodyReading) -> dict[str, float]:
    return {
        "head_confidence": body.head,
        "right_wrist_confidence": body.right_wrist,
        "left_wrist_confidence": body.left_wrist,
        "left_toes_confidence": body.left_toes,
        "right_toes_confidence": body.right_toes,
        "frame_margin": body.margin,
    }
