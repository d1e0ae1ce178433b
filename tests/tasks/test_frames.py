from pathlib import Path

import pytest

from broker.artifacts import Artifacts
from broker.errors import ArtifactMissing
from tasks.frames import Frames


def test_a_damaged_picture_says_what_brings_it_back(tmp_path: Path) -> None:
    store = Artifacts(tmp_path.as_uri())
    store.put("frames/1.jpg", b"no picture")
    with pytest.raises(ArtifactMissing, match=r"frames/1\.jpg cannot be decoded") as caught:
        Frames(store).image("frames/1.jpg")
    assert caught.value.remedy == "Remove the job with `hardpose delete JOB` and run it again."
