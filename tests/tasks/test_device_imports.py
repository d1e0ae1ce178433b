"""A device's worker runs where neither OpenCV nor PyAV nor SQLAlchemy is installed."""

import subprocess
import sys

LACKING = ("cv2", "av", "sqlalchemy", "alembic", "tensorflow", "onnx")
PROGRAM = f"""
import sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {LACKING}:
            raise ImportError(f"{{name}} is not installed on a device")

sys.meta_path.insert(0, Lacking())
import tasks.celery_tasks, tasks.device_masks, workers.process
from broker.recipe import Stage
from broker.settings import load_settings
from tasks.pipeline import frames_for
from tasks.preloading import preload
from tasks.runtime import Runtime
from workers.devices import known_picture
from workers.models import open_device

runtime = Runtime(load_settings(artifacts_url="memory:///"))
preload(runtime, (Stage.ME,))
frames_for((Stage.ME,), runtime)
device = open_device(runtime.models((Stage.ME,))[Stage.ME], runtime.weights)
assert known_picture.embedded().check(device, 0.5)
print("loaded", sorted(name for name in {LACKING} if name in sys.modules))
"""


def test_the_me_stage_loads_and_draws_without_what_a_device_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "loaded []"
