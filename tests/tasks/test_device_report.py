"""Devices side by side: the laws of the counts, what the page says, and which devices a name means."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from kept_books import judged_again, kept_books, red_device
from typer.testing import CliRunner

from api.cli import cli
from broker.errors import NotFound
from broker.frame_views import Decision, PoseClass, Review, ReviewDecision
from broker.messages import Verdict
from broker.recipe import Comparison, FullBodyRule, ModelSpec, Recipe, Route
from broker.settings import Settings, load_settings
from broker.side_books import SideFrame, SideRecipe
from tasks.device_report.agreement import Agreement, Reader
from tasks.device_report.contrast import Contrast, Outcome
from tasks.device_report.mcnemar import kappa, mcnemar
from tasks.device_report.rows import contrast_rows, whole_row
from tasks.device_report.sides import AmbiguousDevice, NoCommonFrames, sides_of
from tasks.device_report.tally import NOT_TRIED, Tally, tally
from tasks.device_report.write import DeviceReport, write_device_report
from tasks.failure_report.file import ForeignFile
from tasks.failure_report.intervals import SEED
from tasks.runtime import Runtime

THRESHOLD = 0.5
MODEL = ModelSpec(name="m", version="1")


def recipe_of(
    version: str = "1", device: str = "", firmware: str = "", iou: float = 0.5, **rule: float
) -> Recipe:
    route = Route(device=device, firmware=firmware) if device else None
    model = ModelSpec(name="litert", version=version, route=route)
    return Recipe(
        pose_model=MODEL,
        mask_model=MODEL,
        device_model=model,
        comparison=Comparison(iou_threshold=iou),
        rule=FullBodyRule(**rule),
    )


def known(*recipes: Recipe) -> list[SideRecipe]:
    """The newest first, as the books have them."""
    return [SideRecipe(recipe=each, first_at="2026", videos=1, open=0) for each in recipes]


OLD, NEW, THIRD = recipe_of("1"), recipe_of("2"), recipe_of("3")
THREE = sides_of(known(THIRD, NEW, OLD), [OLD.id, NEW.id, THIRD.id])
IOUS = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([THRESHOLD, 0.0, 1.0]))
Drawn = tuple[int, PoseClass, float | None, float | None, float | None]
FRAMES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(list(PoseClass)), IOUS, IOUS, IOUS), min_size=1, max_size=40
)


def frames_of(drawn: Sequence[Drawn]) -> list[list[SideFrame]]:
    """What three devices have made of drawn frames; None: the device failed."""
    return [
        [
            SideFrame(
                video_id=f"https:v{video}",
                recipe_id=recipe.id,
                time_ms=time_ms,
                verdict=Verdict.FAILED if iou is None else Verdict.EASY,
                iou=iou,
                pose_class=pose,
                fault="device_too_late" if iou is None else "",
            )
            for recipe, iou in zip((OLD, NEW, THIRD), ious, strict=True)
        ]
        for time_ms, (video, pose, *ious) in enumerate(drawn)
    ]


def no_masks(_: str) -> bytes:
    raise AssertionError("there are no keys to read")


def counted(frames: Sequence[Sequence[SideFrame]], sides: object = THREE) -> Tally:
    return tally(sides, frames, Reader(no_masks), THRESHOLD)  # type: ignore[arg-type]


@hypothesis_settings(deadline=None, max_examples=60)
@given(FRAMES)
def test_every_frame_in_common_has_one_outcome_and_none_is_lost(drawn: list) -> None:
    found = counted(frames_of(drawn))
    judged = [[iou is not None for iou in ious] for _, _, *ious in drawn]
    assert len(found.contrasts) == 2
    for number, contrast in enumerate(found.contrasts, 1):
        both = sum(each[0] and each[number] for each in judged)
        assert sum(contrast.outcomes.values()) == contrast.count == both
        assert sum(map(sum, contrast.grid)) == both
        rows, whole = contrast_rows(contrast), whole_row(contrast)
        assert sum(row.frames for row in rows) == (whole.frames if whole else 0) == both
        assert sum(row.fixed for row in rows) == contrast.outcomes[Outcome.FIXED]
        assert len(contrast.changed[Outcome.BROKEN]) == contrast.outcomes[Outcome.BROKEN]
    some = sum(any(each) for each in judged)
    for number in range(3):
        lacks = sum(absent.count for absent in found.absent[number].values())
        assert found.judged[number] + lacks == some, "judged or named with the reason"
        assert set(found.absent[number]) <= {"device_too_late"}


@hypothesis_settings(deadline=None, max_examples=60)
@given(FRAMES)
def test_swapping_two_devices_swaps_fixed_and_broken_and_leaves_their_agreement(drawn: list) -> None:
    there = counted(frames_of([(video, pose, a, b, None) for video, pose, a, b, _ in drawn]))
    back = counted(frames_of([(video, pose, b, a, None) for video, pose, a, b, _ in drawn]))
    one, other = there.contrasts[0].outcomes, back.contrasts[0].outcomes
    assert (one[Outcome.FIXED], one[Outcome.BROKEN]) == (other[Outcome.BROKEN], other[Outcome.FIXED])
    assert one[Outcome.STILL_HARD] == other[Outcome.STILL_HARD]
    first, second = there.agreements[0, 1], back.agreements[0, 1]
    assert (first.same, first.kappa) == (second.same, second.kappa)
    gain, loss = whole_row(there.contrasts[0]), whole_row(back.contrasts[0])
    if gain is not None:
        assert loss is not None
        assert gain.gain.value == pytest.approx(-loss.gain.value, abs=1e-12)


@hypothesis_settings(deadline=None, max_examples=40)
@given(FRAMES)
def test_a_device_agrees_with_itself(drawn: list) -> None:
    same = Agreement(THRESHOLD)
    ious = [iou for _, _, iou, *_ in drawn if iou is not None]
    for iou in ious:
        same.add(PoseClass.BENT, iou, iou, 1.0)
    wanted = 1.0 if ious else None
    assert (same.same, same.kappa, same.mean_iou(), same.mean_iou(PoseClass.BENT)) == (wanted,) * 4
    assert same.mean_iou(PoseClass.LYING) is None


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sign_test_on_the_frames_that_changed(fixed: int, broken: int) -> None:
    n = fixed + broken
    tail = sum(comb(n, i) for i in range(min(fixed, broken) + 1))
    assert mcnemar(fixed, broken) == pytest.approx(min(1.0, 2 * tail / 2**n))
    assert mcnemar(fixed, broken) == mcnemar(broken, fixed)


def test_numbers_that_are_known() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(1, 9) == pytest.approx(22 / 1024)  # 2 * (1 + 10) / 2**10
    assert mcnemar(30_000, 20_000) < 1e-300 or mcnemar(30_000, 20_000) == 0  # no overflow
    assert kappa(20, 5, 10, 15) == pytest.approx(0.4)  # the example of Cohen's kappa in textbooks
    assert kappa(0, 0, 0, 7) == 1  # all the same, and by chance too
    assert kappa(0, 0, 0, 0) is None
    with pytest.raises(ValueError, match="-1"):
        mcnemar(-1, 2)


def test_the_interval_of_a_gain_is_of_pairs_and_of_whole_videos() -> None:
    draw, pairs = np.random.default_rng(SEED), Contrast(THRESHOLD)
    for video in range(12):
        level = draw.uniform(0.2, 0.8)  # videos differ much, the devices little and always alike
        for time_ms in range(6):
            old, new = (
                SideFrame(
                    video_id=f"https:v{video}",
                    recipe_id=each.id,
                    time_ms=time_ms,
                    verdict=Verdict.EASY,
                    iou=iou,
                )
                for each, iou in ((OLD, level), (NEW, level + 0.02 + draw.uniform(-0.005, 0.005)))
            )
            pairs.add(PoseClass.BENT, old, new)
    whole = whole_row(pairs)
    assert whole is not None
    assert whole.by_video
    assert whole.gain.low is not None and whole.gain.high is not None
    assert 0.015 < whole.gain.low < whole.gain.value < whole.gain.high < 0.025
    assert whole.verdict == "better"


def test_rejected_frames_are_in_no_number_and_a_threshold_counts_for_all() -> None:
    drawn = [(0, PoseClass.BENT, 0.1, 0.9, 0.9), (1, PoseClass.BENT, 0.55, 0.65, 0.9)]
    frames = frames_of(drawn)
    assert counted(frames).contrasts[0].outcomes[Outcome.FIXED] == 1
    frames[0][2] = frames[0][2].model_copy(update={"review": Review.REJECTED})  # under one device alone
    found = counted(frames)
    assert (found.rejected, found.contrasts[0].count, found.judged) == (1, 1, [1, 1, 1])
    strict = tally(THREE, frames, Reader(no_masks), 0.6)
    assert strict.contrasts[0].outcomes[Outcome.FIXED] == 1
    not_there = counted([frames[1][:2]])
    assert not_there.absent[2][NOT_TRIED].count == 1


# --- which devices are meant ---


def test_a_device_is_named_by_name_firmware_version_or_recipe() -> None:
    one, two = recipe_of("me-1", "me", "1"), recipe_of("me-2", "me", "2")
    file = recipe_of("file-student")
    books = known(two, file, one)
    assert [side.label for side in sides_of(books, ["me@1", "me"]).each] == ["me 1", "me 2"]
    assert [side.recipes for side in sides_of(books, ["student", "me"]).each] == [(file.id,), (two.id,)]
    assert sides_of(books, [two.id, "file-student"]).recipe == file
    for nobody in ("you", "me@3", ""):
        with pytest.raises(NotFound) as refused:
            sides_of(books, ["me", nobody])
        assert "me@2" in refused.value.remedy


def test_what_a_name_leaves_open_is_asked_back() -> None:
    half = recipe_of("1").model_copy(
        update={"device_model": ModelSpec(name="litert", version="1", options={"t": 1})}
    )
    with pytest.raises(AmbiguousDevice) as two_models:
        sides_of(known(half, OLD, NEW), ["1", "2"])
    assert half.id in two_models.value.remedy and OLD.id in two_models.value.remedy
    with pytest.raises(AmbiguousDevice, match="the same device"):
        sides_of(known(OLD, NEW), ["1", OLD.id])
    with pytest.raises(AmbiguousDevice, match="two devices or more"):
        sides_of(known(OLD, NEW), ["1"])
    other = [recipe_of(version, min_confidence=0.4) for version in "12"]
    with pytest.raises(NoCommonFrames) as apart:
        sides_of(known(OLD, other[1]), ["1", "2"])
    assert "hardpose devices replay" in apart.value.remedy
    with pytest.raises(AmbiguousDevice) as several:
        sides_of(known(OLD, NEW, *other), ["1", "2"])
    assert all(each.id in several.value.remedy for each in (OLD, NEW, *other))
    assert sides_of(known(OLD, NEW, *other), ["1", other[1].id]).each[0].recipes == (other[0].id,)


def test_recipes_that_differ_in_the_threshold_of_hard_frames_are_one_device() -> None:
    strict = recipe_of("2", iou=0.7)
    sides = sides_of(known(strict, NEW, OLD), ["1", "2"])
    assert sides.each[1].recipes == (strict.id, NEW.id)
    assert sides.each[1].threshold == 0.7
    frames = frames_of([(0, PoseClass.BENT, 0.4, 0.6, None)])[0][:2]
    twice = [*frames, frames[1].model_copy(update={"recipe_id": strict.id})]
    found = counted([twice], sides)
    assert (found.contrasts[0].count, found.judged) == (1, [1, 1])


# --- the page ---


@dataclass(frozen=True)
class Books:
    settings: Settings
    recipes: tuple[Recipe, ...]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """Six videos with 10 frames each under two devices, and four of them under a third."""
    folder = tmp_path_factory.mktemp("sides")
    device = red_device(folder)
    settings = load_settings(home=folder / "state", device_model=str(device), device_threshold=0.5)
    (folder / "state").mkdir()
    first = kept_books(settings, 6, 10)
    recipes = [first]
    for threshold, videos in ((0.15, 6), (0.1, 4)):
        options = {**first.device_model.options, "threshold": threshold}
        model = first.device_model.model_copy(update={"options": options})
        recipes.append(first.model_copy(update={"device_model": model}))
        judged_again(settings, recipes[-1], videos)
    yield Books(settings, tuple(recipes))


class Page(HTMLParser):
    """What a browser sees: tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.source = path.read_text(encoding="utf-8")
        self.words = ""
        self.feed(self.source.partition("</style>")[2])
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.words += " "

    def handle_data(self, data: str) -> None:
        self.words += data


def written(books: Books, path: Path, *numbers: int, threshold: float | None = None) -> DeviceReport:
    names = [books.recipes[number].id for number in numbers]
    return write_device_report(Runtime(books.settings), names, path, threshold)


def test_the_page_of_two_devices(books: Books, tmp_path: Path) -> None:
    report = written(books, tmp_path / "r.html", 0, 1)
    page = Page(report.path)
    (section,) = report.sections
    assert section.whole is not None
    assert (section.contrast.count, section.whole.videos) == (60, 6)
    assert {str(row.pose) for row in section.rows} == {"upright_front", "upright_turned", "bent"}
    assert section.count("fixed") > 4 < section.count("newly_broken")
    assert (
        f"{section.count('fixed')} fixed against {section.count('newly_broken')} newly broken" in page.words
    )
    assert "threshold=0.15) against" in page.words
    assert "Before, or old, is litert file-red (threshold=0.5), which was named first" in page.words
    assert "Clip <0>" in page.words  # a title of another's making, escaped
    assert "<0>" not in page.source
    pictures = [tag for name, tag in page.tags if name == "img"]
    assert len(pictures) == 2 * (len(section.improved) + len(section.worsened)) == 32
    assert all((picture["src"] or "").startswith("data:image/jpeg;base64,") for picture in pictures)
    gains = [each.change.gain for each in section.improved]
    assert gains == sorted(gains, reverse=True) and gains[-1] > 0 > section.worsened[0].change.gain
    assert not {"script", "link", "iframe"} & {name for name, _ in page.tags}
    assert "default-src 'none'" in page.source
    agreement = report.tally.agreements[0, 1]
    mean = agreement.mean_iou()
    assert mean is not None
    assert 0 < mean < 1 and f"{mean:.3f}" in page.words
    again = tmp_path / "again.html"
    written(books, again, 0, 1)
    assert again.read_bytes() == report.path.read_bytes()


def test_the_page_of_three_devices_names_what_one_has_not_judged(books: Books, tmp_path: Path) -> None:
    report = written(books, tmp_path / "r.html", 0, 1, 2, threshold=0.6)
    page = Page(report.path)
    assert report.tally.judged == [60, 60, 40]
    assert report.tally.absent[2][NOT_TRIED].count == 20
    assert "it was not tried on them 20" in page.words
    assert [section.contrast.count for section in report.sections] == [60, 40]
    assert list(report.tally.agreements) == list(combinations(range(3), 2))
    assert "every number here uses 0.6 for all" in page.words
    text = page.words.partition("Agreement of the devices")[2]
    assert text.count("litert file-red") >= 6


def test_masks_and_frames_that_are_gone_are_told_and_the_rest_is_there(books: Books, tmp_path: Path) -> None:
    before = written(books, tmp_path / "r.html", 0, 2)
    worst = before.sections[0].worsened[0]
    here = Runtime(books.settings)
    key = here.catalog.frames.get(worst.change.new).keeper.device_key
    assert key is not None
    data = here.artifacts.get(key)
    here.artifacts.delete(key)
    try:
        report = written(books, tmp_path / "r.html", 0, 2)
    finally:
        here.artifacts.put(key, data)
    assert report.tally.masks_gone == 1
    assert report.sections[0].contrast.count == before.sections[0].contrast.count, "its IoU is in the books"
    assert sum(report.tally.agreements[0, 1].masks.values()) == 39
    assert "1 mask could not be read any more" in Page(report.path).words
    assert report.sections[0].worsened[0].lost


def test_a_review_takes_a_frame_out_of_every_device(books: Books, tmp_path: Path) -> None:
    here = Runtime(books.settings)
    frame = written(books, tmp_path / "r.html", 0, 1).sections[0].improved[0].change.new
    decision = ReviewDecision(id="decision-1", frame_id=frame, decision=Decision.REJECT)
    here.catalog.reviews.decide("ann", [decision])
    try:
        report = written(books, tmp_path / "r.html", 0, 1)
        assert (report.tally.rejected, report.sections[0].contrast.count) == (1, 59)
        assert "1 frame that reviewers have rejected" in Page(report.path).words
    finally:
        back = ReviewDecision(id="decision-2", frame_id=frame, decision=Decision.WITHDRAW)
        here.catalog.reviews.decide("ann", [back])


def test_the_command(books: Books, tmp_path: Path) -> None:
    out, home = tmp_path / "r.html", str(books.settings.home)
    names = [books.recipes[0].id, books.recipes[1].id]
    done = CliRunner().invoke(
        cli, ["report", "--devices", *names, "--out", str(out), "--home", home, "--json"]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    (side,) = said["side_by_side"]
    assert side["frames"] == 60 == sum(side[outcome.value] for outcome in Outcome)
    assert len(side["frames_fixed"]) == side["fixed"]
    assert said["agreement"][0]["frames"] == 60
    told = CliRunner().invoke(cli, ["report", "--devices", *names, "--out", str(out), "--home", home])
    assert f"{side['fixed']} fixed, {side['newly_broken']} newly broken" in told.stdout
    assert f"report: {out}" in told.stdout
    mixed = CliRunner().invoke(cli, ["report", "--out", str(out), "--home", home])
    assert mixed.exit_code != 0 and "--devices" in mixed.stderr
    alone = CliRunner().invoke(cli, ["report", "--threshold", "0.6", "--home", home])
    assert alone.exit_code == 2
    unsure = CliRunner().invoke(cli, ["report", "--devices", "red", names[0], "--home", home])
    assert unsure.exit_code == 2 and "stands for 3 devices" in unsure.stderr
    foreign = tmp_path / "mine.html"
    foreign.write_text("<html>")
    with pytest.raises(ForeignFile):
        written(books, foreign, 0, 1)
