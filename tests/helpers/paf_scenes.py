"""Heat maps and affinity fields of people whose points are known, as a perfect BODY_25 network gives them."""

from dataclasses import dataclass, field

import numpy as np
from paf_reference import channels, pairs

CELLS = (46, 82)
"""Height and width of the maps for an input of 368 x 656."""
SIGMA = 7.0
"""Standard deviation of a part's blob in pixels (the paper's training targets)."""
LIMB_WIDTH = 8.0
"""Half the width of a limb in a field, pixels (likewise)."""

# An upright figure of height 1 around its mid-hip: x to the right of the image, y down, in BODY_25's order.
FIGURE = np.array([
    (0.00, -0.43), (0.00, -0.32), (-0.10, -0.31), (-0.14, -0.17), (-0.15, -0.04),
    (0.10, -0.31), (0.14, -0.17), (0.15, -0.04), (0.00, 0.00), (-0.06, 0.00),
    (-0.07, 0.22), (-0.07, 0.43), (0.06, 0.00), (0.07, 0.22), (0.07, 0.43),
    (-0.02, -0.46), (0.02, -0.46), (-0.05, -0.44), (0.05, -0.44), (0.10, 0.49),
    (0.13, 0.47), (0.05, 0.46), (-0.10, 0.49), (-0.13, 0.47), (-0.05, 0.46),
])  # fmt: skip


def part_count(person):
    """Parts of an assembled person that were seen, feet included."""
    return int(np.count_nonzero(person.points[:, 2] > 0))


@dataclass
class Scene:
    """Maps with the people in them.

    ``truth`` has 25 x 2 pixels of the network's input for each person; ``seen`` says which were drawn.
    """

    cells: tuple[int, int] = CELLS
    truth: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    heatmaps: np.ndarray = None
    pafs: np.ndarray = None

    def __post_init__(self):
        h, w = self.cells
        self.heatmaps = np.zeros((26, h, w), np.float32)
        self.pafs = np.zeros((52, h, w), np.float32)
        self._limbs_here = np.zeros((26, h, w), np.float32)

    @property
    def net_size(self):
        """Width and height of the network's input."""
        return 8 * self.cells[1], 8 * self.cells[0]

    def add(self, points, seen=None, strength=1.0):
        """Draws one person: a blob at each point that is seen, a field along each limb between two.

        ``strength`` is the height of the blobs, one number or 25; a limb is as strong as its stronger end.
        """
        seen = np.ones(25, bool) if seen is None else seen
        strength = np.broadcast_to(strength, 25)
        self.truth.append(points)
        self.seen.append(seen)
        ys, xs = np.mgrid[: self.cells[0], : self.cells[1]] * 8 + 3.5
        for part in np.flatnonzero(seen):
            x, y = points[part]
            blob = strength[part] * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * SIGMA**2))
            self.heatmaps[part] = np.maximum(self.heatmaps[part], blob)
        for limb, (a, b) in enumerate(pairs(25)):
            if seen[a] and seen[b]:
                self._draw_limb(limb, points[a], points[b], xs, ys, max(strength[a], strength[b]))
        return self

    def _draw_limb(self, limb, a, b, xs, ys, strength):
        length = np.hypot(*(b - a))
        ux, uy = (b - a) / max(length, 1e-9)
        along, across = (xs - a[0]) * ux + (ys - a[1]) * uy, (xs - a[0]) * uy - (ys - a[1]) * ux
        on = (along > -LIMB_WIDTH) & (along < length + LIMB_WIDTH) & (np.abs(across) < LIMB_WIDTH)
        before = self._limbs_here[limb]
        for channel, value in zip(channels(25)[limb], (ux, uy), strict=True):
            # Where limbs cross, the paper averages.
            mean = (self.pafs[channel] * before + strength * value) / (before + 1)
            self.pafs[channel] = np.where(on, mean, self.pafs[channel])
        self._limbs_here[limb] += on

    def add_noise(self, rng, sigma):
        """White noise on every map."""
        self.heatmaps += rng.normal(0, sigma, self.heatmaps.shape).astype(np.float32)
        self.pafs += rng.normal(0, sigma, self.pafs.shape).astype(np.float32)
        return self


def figure(rng, centre, height, turn=0.4):
    """25 x 2 points of a figure: ``height`` pixels high, turned by up to ``turn`` radians, a little bent."""
    angle = rng.uniform(-turn, turn)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    bent = FIGURE + rng.normal(0, 0.012, FIGURE.shape)
    return (bent @ rotation) * height + centre


def people_apart(rng, count, cells=CELLS):
    """``count`` figures side by side, each whole and in the frame, none touching another."""
    width, height = 8 * cells[1], 8 * cells[0]
    slot = width / max(count, 1)
    size = min(0.75 * height, 1.4 * slot)
    scene = Scene(cells)
    for i in range(count):
        tall = size * rng.uniform(0.8, 1.0)
        y = rng.uniform(0.55 * tall, height - 0.58 * tall)
        scene.add(figure(rng, (slot * (i + 0.5) + rng.uniform(-2, 2), y), tall, turn=0.08))
    return scene


def crowd(seed, cells=CELLS):
    """0 to 8 people anywhere: overlapping, cut off, with parts unseen or near the threshold, and noise."""
    rng = np.random.default_rng(seed)
    width, height = 8 * cells[1], 8 * cells[0]
    scene = Scene(cells)
    for _ in range(seed % 9):
        tall = rng.uniform(0.25, rng.choice([1.1, 4.5])) * height
        points = figure(rng, rng.uniform((0, 0), (width, height)), tall, turn=3.1)
        strength = np.where(rng.random(25) < 0.8, rng.uniform(0.3, 1.0), rng.uniform(0.04, 0.1, 25))
        scene.add(points, rng.random(25) > rng.choice([0, 0.1, 0.5]), strength)
    return scene.add_noise(rng, rng.choice([0, 0.003, 0.01, 0.03]))
