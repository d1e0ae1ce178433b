"""Where Matterport's weights come from, and what is known of them."""

from workers.cards import ModelCard, OfficialFile

CARD = ModelCard(
    title="Mask R-CNN (ResNet-101, FPN), Matterport",
    licence="MIT",
    licence_url="https://github.com/matterport/Mask_RCNN/blob/master/LICENSE",
    must_accept=False,
    terms="MIT asks to keep its copyright notice. The weights were trained on COCO, whose photos have terms "
    "of their own.",
    citation="K. He, G. Gkioxari, P. Dollar, R. Girshick: Mask R-CNN, ICCV 2017, arXiv:1703.06870; "
    "W. Abdulla: Mask R-CNN for object detection and instance segmentation on Keras and TensorFlow, 2017, "
    "https://github.com/matterport/Mask_RCNN",
    official=(
        # Its authors publish no checksum.
        OfficialFile(
            "mask_rcnn_coco.h5",
            "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5",
        ),
    ),
    obtain="Download mask_rcnn_coco.h5 (about 257 MB) from release v2.0 of Matterport's repository, then "
    "hardpose models add matterport --from mask_rcnn_coco.h5.",
    suffixes=(".h5",),
    untried="Never run with the official weights here, and never on a GPU: on random weights in the same "
    "file format, ONNX Runtime and TensorFlow find the same.",
)
