# `pose` and `mask` on a GPU by ONNX Runtime; CUDA's libraries come with its packages, the driver from the host
# (NVIDIA Container Toolkit).
# docker build -f deploy/images/gpu-onnx.Dockerfile -t hardpose-gpu-onnx .
# By digest: --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=vision,onnx-gpu
WORKDIR /src
COPY constraints.txt constraints-extra.txt pyproject.toml README.md LICENSE ./
COPY broker broker
COPY workers workers
COPY tasks tasks
COPY api api
RUN python -m venv /opt/hardpose \
 && /opt/hardpose/bin/pip install --no-cache-dir --constraint constraints.txt pip setuptools \
 && /opt/hardpose/bin/pip install --no-cache-dir --constraint constraints.txt --constraint constraints-extra.txt --no-build-isolation ".[${EXTRAS}]"

FROM ${PYTHON_IMAGE}
# The folders that volumes are mounted on: a new volume takes over their owner.
RUN useradd --system --uid 8642 --home-dir /var/lib/hardpose hardpose \
 && install -d -o hardpose -g hardpose /var/lib/hardpose /var/lib/hardpose/home \
      /var/lib/hardpose/temp /var/lib/hardpose/weights
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
