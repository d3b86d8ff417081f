# A sample trainer: torch, the demo, and of telemetryd the thin client alone (pyzmq and msgspec; no wandb, no key). In an
# image of your own `pip install telemetryd` is all there is to add. From the repository's root:
#
#   docker build -f deploy/docker/trainer.Dockerfile -t telemetryd-trainer .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH=torch==2.13.0
# Passed to pip as it is. torch from the package index brings CUDA, some gigabytes, which the demo does not need.
ARG PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# tini as in the daemon's Dockerfile; the compiler makes the compiled part of `client.log`, and stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv --without-pip /opt/trainer \
    && python3 -m pip --python /opt/trainer/bin/python install --no-cache-dir --disable-pip-version-check \
       ${PIP_ARGS} "${TORCH}" "scikit-learn>=1.4" "numpy>=1.26"
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY client client
COPY telemetryd telemetryd
RUN python3 -m pip --python /opt/trainer/bin/python install --no-cache-dir --disable-pip-version-check .

FROM ${BASE_IMAGE}
ARG UID=10001
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="telemetryd-trainer" \
      org.opencontainers.image.description="A sample training job with telemetryd's thin client" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /usr/bin/tini /usr/bin/tini
COPY --from=build /opt/trainer /opt/trainer
# The user has the number of the daemon's: socket and journals are for that user alone.
RUN useradd --uid "${UID}" --create-home --shell /usr/sbin/nologin trainer \
    && install -d -o trainer -g trainer -m 0700 /run/telemetryd /var/spool/telemetryd
COPY deploy/examples /workspace
# WANDB_DIR names a folder of the daemon's, which writes the run there: this container neither has nor needs it.
ENV PATH=/opt/trainer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TELEMETRYD_ENDPOINT=ipc:///run/telemetryd/daemon.sock \
    TELEMETRYD_SPOOL_DIR=/var/spool/telemetryd \
    WANDB_DIR=/var/lib/telemetryd
WORKDIR /workspace
USER ${UID}
# `telemetryd run` records output and exit code; `python train_digits.py` alone works too, without those of a crash.
ENTRYPOINT ["tini", "--"]
CMD ["telemetryd", "run", "--", "python", "train_digits.py"]
