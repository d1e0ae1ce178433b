# The queue `pose` with an OpenPose of your own: nothing here builds OpenPose, and its licence is yours to accept.
# OPENPOSE_IMAGE names an image of yours in which `python3 -c "import pyopenpose"` works (under any Python; hardpose
# itself runs under a Python of its own beside it, and starts yours as a child).
# docker build -f deploy/images/pyopenpose.Dockerfile --build-arg OPENPOSE_IMAGE=you/openpose@sha256:... -t hardpose-pyopenpose .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG OPENPOSE_IMAGE

FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=vision
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY broker broker
COPY workers workers
COPY tasks tasks
COPY api api
# A Python that needs nothing of its own image: uv's builds run on any Linux with glibc >= 2.17. A release of uv names
# the release of 3.11 that it fetches.
RUN pip install --no-cache-dir uv==0.13.9 \
 && UV_PYTHON_INSTALL_DIR=/opt/python uv venv --python 3.11 --python-preference only-managed /opt/hardpose \
 && uv pip install --no-cache --python /opt/hardpose --constraint constraints.txt pip setuptools \
 && uv pip install --no-cache --python /opt/hardpose --constraint constraints.txt --no-build-isolation ".[${EXTRAS}]"

FROM ${OPENPOSE_IMAGE}
USER root
RUN useradd --system --uid 8642 --home-dir /var/lib/hardpose hardpose \
 && install -d -o hardpose -g hardpose /var/lib/hardpose /var/lib/hardpose/home \
      /var/lib/hardpose/temp /var/lib/hardpose/weights
COPY --from=build /opt/python /opt/python
COPY --from=build /opt/hardpose /opt/hardpose
ENV PATH=/opt/hardpose/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HARDPOSE_HOME=/var/lib/hardpose/home \
    HARDPOSE_TEMP_DIR=/var/lib/hardpose/temp \
    HARDPOSE_WEIGHTS_DIR=/var/lib/hardpose/weights
USER 8642
WORKDIR /var/lib/hardpose
ENTRYPOINT ["hardpose"]
