# The W&B stand-in (docs/standin.md): what W&B's server says, on this machine, for trying the online mode without an
# account. Not for anything that is to be kept. From the repository's root:
#
#   docker build -f deploy/docker/standin.Dockerfile -t telemetryd-standin .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE}
ARG UID=10001
LABEL org.opencontainers.image.title="telemetryd-standin" \
      org.opencontainers.image.description="A local stand-in for the W&B server" \
      org.opencontainers.image.licenses="MIT"
WORKDIR /srv
COPY tests/__init__.py tests/__init__.py
COPY tests/standin tests/standin
RUN useradd --uid "${UID}" --no-create-home --shell /usr/sbin/nologin standin \
    && install -d -o standin -g standin -m 0700 /var/lib/standin
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER ${UID}
EXPOSE 8080 8081
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/_control/stats', timeout=4)"]
ENTRYPOINT ["python3", "-m", "tests.standin", "--host", "0.0.0.0", "--port", "8080", "--control-port", "8081"]
CMD ["--state-dir", "/var/lib/standin", "--print-url"]
