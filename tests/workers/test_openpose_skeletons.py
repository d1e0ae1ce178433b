import pytest

from workers.pose.openpose.skeletons import BODY_25, COCO_18, Skeleton


@pytest.mark.parametrize(
    ("skeleton", "parts", "pairs"), [(BODY_25, 25, 26), (COCO_18, 18, 19)], ids=["body25", "coco18"]
)
def test_every_affinity_channel_belongs_to_exactly_one_limb(
    skeleton: Skeleton, parts: int, pairs: int
) -> None:
    channels = [channel for pair in skeleton.paf_channels for channel in pair]
    assert (skeleton.n_parts, len(skeleton.pairs)) == (parts, pairs)
    assert sorted(channels) == list(range(skeleton.n_pafs))


@pytest.mark.parametrize("skeleton", [BODY_25, COCO_18], ids=["body25", "coco18"])
def test_the_limbs_connect_every_part_to_the_neck(skeleton: Skeleton) -> None:
    reached = {1}
    for _ in skeleton.pairs:
        reached |= {part for pair in skeleton.pairs if reached & set(pair) for part in pair}
    assert reached == set(range(skeleton.n_parts))


@pytest.mark.parametrize("skeleton", [BODY_25, COCO_18], ids=["body25", "coco18"])
def test_a_limb_never_joins_left_and_right(skeleton: Skeleton) -> None:
    names = [(skeleton.parts[a], skeleton.parts[b]) for a, b in skeleton.pairs]
    assert names
    assert not [n for n in names if {side.split("_")[0] for side in n} >= {"left", "right"}]
