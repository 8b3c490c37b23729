# A worker with the bundled text model. `--build-arg TORCH=cpu` takes the torch without CUDA.
FROM python:3.13-slim-bookworm

ARG TORCH=""
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/pigeonhole
RUN pip install uv==0.13.8 && useradd --create-home --uid 10001 pigeonhole \
    && install -d -o pigeonhole /models

# What it stands on changes seldom and weighs gigabytes, so it is a layer of its own.
COPY pyproject.toml ops/constraints.txt /build/
COPY api/client/pyproject.toml /build/client/pyproject.toml
RUN uv pip install --system --no-cache ${TORCH:+--torch-backend "$TORCH"} \
    -c /build/constraints.txt -r /build/pyproject.toml --extra worker --extra models --extra int8 \
    && uv pip install --system --no-cache \
    -c /build/constraints.txt -r /build/client/pyproject.toml

COPY pyproject.toml README.md LICENSE /build/
COPY api /build/api
COPY ops /build/ops
COPY shared /build/shared
COPY workers /build/workers
RUN uv pip install --system --no-cache --no-deps /build /build/api/client && rm -r /build

# A volume that is mounted here belongs to the user, as the folder does.
ENV HF_HOME=/models
ENV PIGEONHOLE_INT8_DIR=/models/int8
# /healthz and /metrics.
ENV PIGEONHOLE_METRICS_PORT=9464
# By its number, so that Kubernetes can see that it is not root.
USER 10001
EXPOSE 9464
CMD ["python", "-m", "workers.main"]
