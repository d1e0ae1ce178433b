"""Where the embedded networks come from: files inside one pinned wheel, used as a zip of data."""

from broker.recipe import WeightsRef

VERSION = "mediapipe-0.10.21"
WHEEL = "pypi:mediapipe==0.10.21/05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
"""Later wheels of this package carry no ``.tflite`` files."""


def _in_wheel(folder: str, file: str, sha256: str, size: int) -> WeightsRef:
    source = f"{WHEEL}!mediapipe/modules/{folder}/{file}"
    return WeightsRef(file=file, sha256=sha256, source=source, licence="Apache-2.0", size=size)


DETECTOR = _in_wheel(
    "pose_detection",
    "pose_detection.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    2959046,
)
"""The person detector of BlazePose."""
LANDMARKER = _in_wheel(
    "pose_landmark",
    "pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    6440512,
)
"""The landmark and mask network of BlazePose, full size."""
SELFIE = _in_wheel(
    "selfie_segmentation",
    "selfie_segmentation.tflite",
    "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    249505,
)
"""The selfie segmentation network, general model: the default device."""
