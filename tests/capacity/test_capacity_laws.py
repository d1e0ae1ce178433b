"""The capacity model obeys what is known of queues."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import simpy
from dataset_jobs import RECIPE, video
from drawn_work import NO_SITE, measured, one_by_one
from export_books import segment_of
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.capacity.demand import WRITES, Profile, Sample, Work, fetched
from benchmarks.capacity.downloads import Bucket
from benchmarks.capacity.fleet import Fleet, Outages, Site
from benchmarks.capacity.host import SharedCores
from benchmarks.capacity.outcome import DOWNLOAD, Outcome, QueueOutcome
from benchmarks.capacity.simulation import simulate
from benchmarks.stub_worker import examined
from broker.messages import SegmentResult
from broker.recipe import CHAIN, Stage
from tasks.pipeline import pictures_for
from tasks.placement import Group, queue_name

PROFILE = measured((5.0, 3.0, 0.5, 0.1), (6.0, 4.0, 0.6, 0.1), (2.0, 0.1, 0.1, 0.05))
QUEUES = ("pose", "mask", "me", "compare")


def placements() -> list[tuple[Group, ...]]:
    """All eight ways to cut the chain."""
    found = []
    for cuts in itertools.chain.from_iterable(itertools.combinations((1, 2, 3), n) for n in range(4)):
        ends = (0, *cuts, len(CHAIN))
        found.append(tuple(CHAIN[start:end] for start, end in itertools.pairwise(ends)))
    return found


crowds = st.lists(st.integers(1, 9), min_size=1, max_size=6)
fleets = st.tuples(*[st.integers(1, 3)] * 4)


def queue(outcome: Outcome, name: str) -> QueueOutcome:
    return next(found for found in outcome.queues if found.name == name)


def chain(outcome: Outcome) -> list[QueueOutcome]:
    return [found for found in outcome.queues if found.name != DOWNLOAD]


def fleet(workers: tuple[int, ...], **more: object) -> Fleet:
    return Fleet(workers=dict(zip(QUEUES, workers, strict=True)), site=NO_SITE, **more)  # type: ignore[arg-type]


def erlang_wait(servers: int, load: float, service: float) -> float:
    """Mean wait in M/M/c (Erlang C), ``load`` in Erlangs: Gross et al., Fundamentals of Queueing Theory."""
    tail = load**servers / math.factorial(servers) * servers / (servers - load)
    busy = tail / (sum(load**k / math.factorial(k) for k in range(servers)) + tail)
    return busy * service / (servers - load)


def alone(work: Work, servers: int, customers: float, cores: int | None = None) -> QueueOutcome:
    """One queue under ``work``, for about so many customers."""
    only = Fleet({"pose": servers}, NO_SITE, cores=cores)
    return queue(simulate(work, only, customers / work.videos_per_day * 86_400, warm_up=500), "pose")


@pytest.mark.parametrize(
    ("servers", "load"),
    [
        (1, 0.5),  # a single server
        (2, 1.2),  # two
        (6, 4.2),  # a pool, 70 % busy
    ],
)
def test_exponential_service_waits_as_erlang_has_it(servers: int, load: float) -> None:
    found = alone(one_by_one(lambda rng: rng.expovariate(1.0), load), servers, 15_000)
    assert found.utilisation == pytest.approx(load / servers, rel=0.03)
    # By the load that was drawn, not the one that was meant: the wait is more sensitive than the load.
    drawn = found.utilisation * servers
    assert found.mean_wait == pytest.approx(erlang_wait(servers, drawn, drawn / load), rel=0.06)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.75])
def test_equal_service_waits_as_pollaczek_and_khinchine_have_it(load: float) -> None:
    found = alone(one_by_one(lambda _: 1.0, load), 1, 12_000)
    assert found.utilisation == pytest.approx(load, rel=0.03)
    drawn = found.utilisation
    assert found.mean_wait == pytest.approx(drawn / (2 * (1 - drawn)), rel=0.06)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_shared_core_keeps_segments_as_processor_sharing_does(load: float) -> None:
    """M/G/1-PS: the mean sojourn S / (1 - load), whatever the law of the service times."""
    found = alone(one_by_one(lambda rng: rng.choice([0.25, 1.75]), load), 500, 15_000, cores=1)
    assert found.mean_sojourn == pytest.approx(1 / (1 - load), rel=0.06)


@given(st.lists(st.floats(0.01, 50.0), min_size=1, max_size=12), st.integers(1, 4))
def test_shared_cores_lose_no_time_and_the_shorter_work_ends_first(needs: list[float], cores: int) -> None:
    env = simpy.Environment()
    host, ends = SharedCores(env, cores), dict[int, float]()

    def one(number: int) -> object:
        yield host.work(needs[number])
        ends[number] = env.now

    for number in range(len(needs)):
        env.process(one(number))
    env.run()
    order = sorted(range(len(needs)), key=lambda number: needs[number])
    assert len(ends) == len(needs)
    expected, done, left = 0.0, 0.0, len(needs)
    for number in order:  # by hand: until the next end all run at the same speed
        expected += (needs[number] - done) * max(1.0, left / cores)
        done, left = needs[number], left - 1
        assert ends[number] == pytest.approx(expected, rel=1e-6)


@settings(max_examples=20)
@given(crowds, fleets, st.sampled_from([None, 1, 2, 3]), st.integers(1, 50))
def test_littles_law_and_nothing_lost(
    crowd: list[int], workers: tuple[int, ...], cores: int | None, backlog: int
) -> None:
    work = Work(PROFILE, at_once=crowd)
    outcome = simulate(work, fleet(workers, cores=cores, backlog=backlog))
    assert (outcome.links_came, outcome.videos_done) == (len(crowd), len(crowd))
    assert outcome.segments_came == outcome.segments_done == sum(crowd)
    assert (outcome.links_inside, outcome.segments_inside) == (0, 0)
    for station in chain(outcome):
        assert station.arrived == station.served == sum(crowd)
        # L = lambda * W: the left side from the number inside over time, the right from each one's own stay.
        rate = station.arrived / outcome.seconds
        assert station.mean_inside == pytest.approx(rate * station.mean_sojourn, rel=1e-9)


@given(st.integers(0, 2**32), fleets, st.floats(100.0, 8_000.0))
@settings(max_examples=15)
def test_what_came_and_has_not_ended_is_inside(seed: int, workers: tuple[int, ...], per_day: float) -> None:
    work = Work(PROFILE, videos_per_day=per_day, failed_share=0.2)
    outcome = simulate(work, fleet(workers), seconds=1800, seed=seed)
    assert outcome.links_came == outcome.videos_done + outcome.links_failed + outcome.links_inside
    assert outcome.segments_came == outcome.segments_done + outcome.segments_inside
    stations = chain(outcome)
    assert stations[0].arrived == outcome.segments_came
    assert stations[-1].served == outcome.segments_done
    for before, behind in itertools.pairwise(stations):
        assert behind.arrived == before.served


@settings(max_examples=20)
@given(crowds, fleets, st.sampled_from(QUEUES), st.tuples(*[st.floats(0.1, 9.0)] * 4))
def test_another_worker_never_makes_it_later(
    crowd: list[int], workers: tuple[int, ...], helped: str, seconds: tuple[float, float, float, float]
) -> None:
    """Of equal segments. Unequal ones may overtake each other, and the last may then be a long one (Graham,
    Bounds on Multiprocessing Timing Anomalies, 1969).
    """
    work, before = Work(measured(seconds), at_once=crowd), fleet(workers)
    behind = replace(before, workers={**before.workers, helped: before.workers[helped] + 1})
    before_it, with_it = (simulate(work, chosen).seconds for chosen in (before, behind))
    assert with_it <= before_it + 1e-6


def test_the_queue_that_is_short_of_workers_is_the_bottleneck_and_helping_it_helps() -> None:
    work = Work(PROFILE, videos_per_day=1200)
    short = simulate(work, fleet((5, 1, 2, 2)), seconds=20_000)
    assert short.bottleneck.name == "mask"
    helped = simulate(work, fleet((5, 3, 2, 2)), seconds=20_000)
    elsewhere = simulate(work, fleet((5, 1, 4, 4)), seconds=20_000)
    assert helped.mean_video_seconds < short.mean_video_seconds / 2
    assert elsewhere.mean_video_seconds > short.mean_video_seconds * 0.9


def test_the_same_seed_gives_the_same_and_another_one_another() -> None:
    work, chosen = Work(PROFILE, videos_per_day=2000, failed_share=0.1), fleet((2, 1, 1, 1))
    site = replace(chosen, site=Site(2, bot_checks=0.05), outages=Outages(3000, 300))
    runs = [simulate(work, site, seconds=20_000, seed=seed) for seed in (7, 7, 8)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@given(
    st.floats(10.0, 10_000.0),
    st.integers(1, 8),
    st.lists(st.floats(0.0, 3600.0), min_size=1, max_size=60),
)
def test_a_bucket_never_grants_more_than_its_law(per_hour: float, burst: int, pauses: list[float]) -> None:
    bucket, now, grants = Bucket(per_hour, burst), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if bucket.wait(now) <= 1e-9:
            bucket.take(now)
            grants.append(now)
    assert grants
    for first in range(len(grants)):
        for last in range(first, len(grants)):
            stretch = grants[last] - grants[first]
            assert last - first + 1 <= burst + stretch * per_hour / 3600 + 1e-6


@pytest.mark.parametrize("identities", [1, 3])
def test_identities_fetch_at_their_rate_and_no_faster(identities: int) -> None:
    work = Work(PROFILE, at_once=[1] * 400)
    outcome = simulate(work, Fleet(site=Site(identities, videos_per_hour=600), workers={"pose": 50}))
    turns = 400 - identities * 5  # behind the bursts
    assert outcome.seconds == pytest.approx(turns / identities * 6, rel=0.03)


def test_a_site_that_always_refuses_is_asked_less_and_less() -> None:
    """Pauses of 1, 2, 4 and again 4 hours: 1 + 5 probes in 16 hours, and only one asks at a time."""
    site = Site(bot_checks=1.0, pause_seconds=3600, max_pause_seconds=4 * 3600, transfers=1)
    outcome = simulate(Work(PROFILE, at_once=[2] * 20), Fleet(site=site), seconds=16 * 3600)
    found = queue(outcome, DOWNLOAD)
    assert (found.arrived, found.served, found.repeated) == (6, 0, 6)
    assert outcome.links_inside == 20
    assert found.down > 0.99


def test_bot_checks_cost_time_and_lose_no_link() -> None:
    work = Work(PROFILE, at_once=[1] * 200)
    calm, refused = (
        simulate(work, Fleet({"pose": 20}, Site(bot_checks=share, pause_seconds=600)))
        for share in (0.0, 0.05)
    )
    assert queue(refused, DOWNLOAD).repeated > 0
    assert refused.videos_done == calm.videos_done == 200
    assert refused.seconds > calm.seconds


def test_a_slow_device_holds_the_stages_in_front_of_it_back() -> None:
    slow = measured((1.0, 1.0, 60.0, 0.1))
    outcome = simulate(Work(slow, at_once=[300]), fleet((3, 3, 1, 1), backlog=20))
    # What waits is counted when a segment is taken: those at work then come on top.
    assert queue(outcome, "me").most_waiting <= 20 + 3 + 3
    free = simulate(Work(slow, at_once=[300]), fleet((3, 3, 1, 1), backlog=10_000))
    assert queue(free, "me").most_waiting > 200
    assert outcome.seconds == pytest.approx(free.seconds, rel=0.01)  # the device is what it hangs on


def test_a_device_that_goes_away_repeats_and_loses_nothing() -> None:
    work = Work(measured((1.0, 1.0, 10.0, 0.1)), at_once=[40] * 20)
    outcome = simulate(work, fleet((2, 2, 2, 1), outages=Outages(300.0, 100.0)))
    device = queue(outcome, "me")
    assert outcome.segments_done == 800
    assert device.repeated > 0
    assert device.served == 800
    assert device.down == pytest.approx(0.25, abs=0.06)
    assert device.utilisation + device.down <= 1 + 1e-9
    assert outcome.bottleneck.name == "me"


def test_workers_are_at_work_for_the_seconds_that_were_asked_of_them() -> None:
    outcome = simulate(Work(measured((5.0, 3.0, 0.5, 0.1)), at_once=[7, 8]), fleet((2, 1, 1, 3)))
    worked = [queue.utilisation * queue.workers * outcome.seconds for queue in chain(outcome)]
    assert worked == pytest.approx([75.0, 45.0, 7.5, 1.5])


@given(st.sampled_from(placements()), st.floats(0.0, 0.2), st.floats(0.0, 0.2), st.integers(0, 30))
def test_every_placement_pays_for_its_messages_and_for_what_it_reads_back(
    placement: tuple[Group, ...], hop: float, picture: float, kept: int
) -> None:
    """Cutting the chain once more costs one message, and the pictures that now change hands."""
    sample = Sample(dict(zip(CHAIN, (5.0, 3.0, 0.5, 0.1), strict=True)), kept=kept)
    profile = Profile(20.0, (sample,), hop_seconds=hop, picture_seconds=picture)
    behind = {Stage.POSE: 0, Stage.MASK: 1, Stage.ME: 1, Stage.COMPARE: 2}
    in_hands = {  # of what a stage reads, what another stage of its own queue has written
        Stage.MASK: [Stage.POSE], Stage.ME: [Stage.POSE], Stage.COMPARE: [Stage.MASK, Stage.ME],
    }  # fmt: skip
    pictures = sum(behind.values()) - sum(
        writer in group for group in placement for stage in group for writer in in_hands.get(stage, [])
    )
    total = sum(profile.seconds_in(group, sample) for group in placement)
    assert total == pytest.approx(8.6 + hop * len(placement) + picture * kept * pictures)
    work = Work(profile, at_once=[3])
    alone = Fleet({queue_name(group): 1 for group in placement}, NO_SITE, cores=1)
    assert simulate(work, alone).seconds == pytest.approx(3 * total)  # one core: nothing is done beside it


def test_stages_read_the_pictures_that_the_model_says() -> None:
    segment = segment_of(video("v0"), "job", RECIPE)
    result = examined(SegmentResult(segment=segment), 1, 0)
    keys = {stage: segment.artifact_key(stage, segment.start_ms, "jpg") for stage in WRITES}
    named = {"mask_key": keys[Stage.MASK], "device_key": keys[Stage.ME]}
    result = result.model_copy(update={"keepers": (result.keepers[0].model_copy(update=named),)})
    for stage in CHAIN:
        read = tuple(key.split("/")[0] for key in pictures_for(stage, result))
        assert read == fetched([stage]), stage
    assert {stage: key.split("/")[0] for stage, key in keys.items()} == WRITES


def test_a_video_ends_with_its_last_segment() -> None:
    work = Work(measured((10.0, 1.0, 1.0, 1.0)), at_once=[3])
    assert simulate(work, fleet((1, 1, 1, 1))).mean_video_seconds == pytest.approx(33.0)
    assert simulate(work, fleet((3, 3, 3, 3))).mean_video_seconds == pytest.approx(13.0)


def test_all_segments_of_a_draw_belong_together() -> None:
    """A segment without keeps is short in every stage: the stages are not drawn apart."""
    rng, seen = random.Random(1), set()
    for _ in range(200):
        seen.add(tuple(PROFILE.draw(rng).seconds.values()))
    assert seen == {tuple(sample.seconds.values()) for sample in PROFILE.samples}
