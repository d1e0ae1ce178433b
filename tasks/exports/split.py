"""The split into train, validation and test: by video, and the same for ever."""

import hashlib

from broker.exports import Split
from tasks.exports.picked import SPLITS


def draw(seed: int, *words: object) -> float:
    """A number in [0, 1) that depends on ``seed`` and ``words`` and on nothing else."""
    text = "\n".join(map(str, (seed, *words)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def split_of(video_id: str, split: Split, seed: int) -> str:
    """The split that all frames of a video go to: ``train``, ``val`` or ``test``.

    The video draws its place from its own id and the seed alone. So no video is ever in two splits, and
    adding videos later moves none that were there. The price: shares are met on average over videos, not
    in each export; with few videos, or videos of very different length, they may be far off, and a split
    may even be empty. What matters more is that no later export puts a video into training that an earlier
    one has tested on.

    Args:
        video_id: of the video.
        split: the shares.
        seed: another one deals the videos anew.
    """
    place, reached = draw(seed, "split", video_id), 0.0
    shares = [(name, getattr(split, name)) for name in SPLITS]
    dealt = [(name, share) for name, share in shares if share > 0]
    for name, share in dealt[:-1]:
        reached += share
        if place < reached:
            return name
    return dealt[-1][0]  # the last takes the rest: shares may add up to 0.9999999
