"""What the API's own answers have in common."""

from pydantic import BaseModel, ConfigDict


class Shown(BaseModel):
    """An answer, or a part of one; what the source says of its fields, the description says too."""

    model_config = ConfigDict(use_attribute_docstrings=True)
