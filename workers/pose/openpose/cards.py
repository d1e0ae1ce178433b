"""What a user has to know of OpenPose's weights: where they are, their licence, how to cite them."""

from workers.cards import ModelCard, OfficialFile

LICENCE = "OpenPose (academic, non-commercial)"
LICENCE_URL = "https://github.com/CMU-Perceptual-Computing-Lab/openpose/blob/master/LICENSE"
TERMS = (
    "Academic or non-profit research only, no commercial use, no distribution of the weights or of anything "
    "derived from them, the converted network included."
)
CITATION = (
    "Z. Cao, G. Hidalgo, T. Simon, S.-E. Wei, Y. Sheikh: OpenPose: Realtime Multi-Person 2D Pose Estimation "
    "using Part Affinity Fields. IEEE Transactions on Pattern Analysis and Machine Intelligence, 2019. "
    "arXiv:1812.08008."
)
SERVER = "http://vcl.snu.ac.kr/OpenPose/models/"
"""Where OpenPose's own build fetches them (OpenPose documentation)."""
UNTRIED = (
    "The published weights were never run by the makers of hardpose: the networks were compared with "
    "OpenCV's on random weights of the same shapes, and run to their end on weights made by hand."
)


def _card(title: str, model: str, file: OfficialFile) -> ModelCard:
    return ModelCard(
        title=title,
        licence=LICENCE,
        licence_url=LICENCE_URL,
        must_accept=True,
        terms=TERMS,
        citation=CITATION,
        official=(file,),
        obtain=(
            f"Read the licence, fetch {file.url} (or take the file out of an OpenPose installation's folder "
            f"models/pose), then `hardpose models add {model} --from {file.file} --accept-licence`."
        ),
        suffixes=(".caffemodel",),
        untried=UNTRIED,
    )


BODY_25 = _card(
    "OpenPose BODY_25",
    "openpose-body25",
    OfficialFile(
        "pose_iter_584000.caffemodel",
        f"{SERVER}pose/body_25/pose_iter_584000.caffemodel",
        "78287b57cf85fa89c03f1393d368e5b7",
    ),
)
COCO_18 = _card(
    "OpenPose COCO (18 points)",
    "openpose-coco18",
    OfficialFile(
        "pose_iter_440000.caffemodel",
        f"{SERVER}pose/coco/pose_iter_440000.caffemodel",
        "5156d31f670511fce9b4e28b403f2939",
    ),
)
