# TensorBoard, for the files that a server with TENSORBOARD=on writes. It reads the volume of the runs, and nothing else.
ARG BASE=debian:bookworm-slim

# --- base
FROM ${BASE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

# --- dependencies, from the lock, by the version of uv that the server's lock names
FROM base AS dependencies
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip python3-venv
COPY requirements/server.txt requirements/tensorboard.txt /build/
RUN python3 -m venv --without-pip /opt/venv \
    && sed -n '/^uv==/,/[^\\]$/p' /build/server.txt >/build/uv.txt \
    && pip install --break-system-packages --no-cache-dir --no-deps --require-hashes -r /build/uv.txt \
    && uv pip install --python /opt/venv/bin/python --compile-bytecode --no-cache --no-deps --require-hashes -r /build/tensorboard.txt

# --- user and entry
FROM base AS program
ARG VERSION
LABEL org.opencontainers.image.title="fedmx tensorboard" \
    org.opencontainers.image.description="TensorBoard for the runs of a fedmx server" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 6006
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6006/data/environment')"]
CMD ["tensorboard", "--logdir", "/runs/tensorboard", "--host", "0.0.0.0", "--port", "6006"]

# --- target
FROM program
COPY --from=dependencies /opt/venv /opt/venv
