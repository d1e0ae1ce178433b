"""The clips that benchmarks run on."""

from pathlib import Path

import av

from broker.settings import load_settings
from workers.downloads.samples import demo_clips
from workers.weights import WeightsStore

SECONDS = 120


def two_minutes(folder: Path, seconds: int = SECONDS, clip: str = "SinglePerson_cam03") -> Path:
    """The sample ``clip`` again and again for two minutes, its packets copied as they are."""
    clips = {path.stem: path for path in demo_clips(WeightsStore(load_settings().weights_dir))}
    target = folder / "two_minutes.mp4"
    with av.open(str(clips[clip])) as source, av.open(str(target), "w") as sink:
        stream = source.streams.video[0]
        copy = sink.add_stream_from_template(stream)
        packets = [p for p in source.demux(stream) if p.dts is not None and p.pts is not None]
        length = stream.frames * int(1 / (stream.average_rate * stream.time_base))
        repeats = int(seconds / float(length * stream.time_base)) + 1
        data = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets]
        for repeat in range(repeats):
            for content, pts, dts, is_keyframe in data:
                packet = av.Packet(content)
                packet.stream, packet.time_base = copy, stream.time_base
                packet.pts, packet.dts = pts + repeat * length, dts + repeat * length
                packet.is_keyframe = is_keyframe
                sink.mux(packet)
    return target
