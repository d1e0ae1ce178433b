"""The report's pose model and teacher as the stages use them: from 1280x720 frames to people and masks.

    python -m benchmarks.model_stages [--batch 1,8,32] [--precision fp32,fp16] [--providers cuda]
        [--runtimes openpose-body25,matterport-onnxruntime,matterport-tensorflow]

With weights made by hand that find a painted figure, so that there is a person to assemble and a mask to
draw. Preparing the frames, the networks, the assembly and the masks at the frame's size are all counted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.model_bench import Contender, measure, parser, ratios, report, test_writers
from broker.recipe import ModelSpec, WeightsRef
from workers.compute import Compute
from workers.contracts import Image
from workers.downloads.files import file_sha256
from workers.masks.matterport.model import Matterport
from workers.models import ModelClass
from workers.options import with_options
from workers.pose.openpose.model import OpenPoseBody25
from workers.weights import WeightsStore

POSE, ONNX, TENSORFLOW = "openpose-body25", "matterport-onnxruntime", "matterport-tensorflow"


def main() -> int:
    """Measures and prints; ends with 1 when a model does not find the one figure in every frame."""
    options = parser(__doc__ or "", "1280x720", ",".join((POSE, ONNX, TENSORFLOW))).parse_args()
    width, height = (int(side) for side in options.image_size.split("x"))
    with test_writers() as folder:
        import painted_person

        frame = painted_person.draw(width, height)
        contenders = list(_contenders(options, folder, frame))
        rows = measure(contenders, options.repeats)
    report("model_stages", options, rows, {"onnxruntime_to_tensorflow": ratios(rows, ONNX, TENSORFLOW)})
    return 0 if all(row.failed or row.found == row.batch for row in rows) else 1


def _contenders(options: argparse.Namespace, folder: Path, frame: Image) -> list[Contender]:
    """Every runtime with every precision and batch."""
    from matterport_painted import write_painted
    from openpose_weights import write_painted_body25

    store = WeightsStore(folder / "weights")
    made: list[Contender] = []
    for precision in options.precision:
        for runtime in options.runtimes:
            for batch in options.batch:
                compute = Compute(options.threads, options.providers, batch)
                if runtime == POSE:
                    file = folder / "painted.caffemodel"
                    spec = _spec(OpenPoseBody25, file, write_painted_body25, {"precision": precision})
                    pose = OpenPoseBody25(spec, store, compute)
                    call = _counting(pose.find_people, [frame] * batch)
                else:
                    given = {"precision": precision, "runtime": runtime.removeprefix("matterport-")}
                    spec = _spec(Matterport, folder / "painted.h5", write_painted, given)
                    teacher = Matterport(spec, store, compute)
                    call = _counting(lambda images, t=teacher: t.segment(images, True), [frame] * batch)
                made.append(Contender(runtime, precision, batch, call, lambda _: 0.0))
    return made


def _spec(model: ModelClass, file: Path, write: Callable[[Path], Path], options: dict[str, str]) -> ModelSpec:
    """The model's description with these options, and the painted weights as a file."""
    if not file.exists():
        write(file)
    ref = WeightsRef(
        file=file.name,
        sha256=file_sha256(file),
        source=file.as_uri(),
        licence="none",
        size=file.stat().st_size,
    )
    return with_options(model.default_spec(), options).model_copy(update={"weights": (ref,)})


def _counting(
    look: Callable[[Sequence[Image]], Sequence[Sequence[object]]], frames: list[Image]
) -> Callable[[], int]:
    """One look at all ``frames``, answering how many people were found."""
    return lambda: sum(len(found) for found in look(frames))


if __name__ == "__main__":
    sys.exit(main())
