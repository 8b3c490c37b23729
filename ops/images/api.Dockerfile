# The front end and the keeper: no torch, no numpy, no model.
FROM python:3.13-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/pigeonhole
RUN pip install uv==0.13.8 && useradd --create-home --uid 10001 pigeonhole

# What it stands on changes seldom, so it is a layer of its own.
COPY pyproject.toml ops/constraints.txt /build/
COPY api/client/pyproject.toml /build/client/pyproject.toml
RUN uv pip install --system --no-cache \
    -c /build/constraints.txt -r /build/pyproject.toml --extra api \
    && uv pip install --system --no-cache \
    -c /build/constraints.txt -r /build/client/pyproject.toml

COPY pyproject.toml README.md LICENSE /build/
COPY api /build/api
COPY ops /build/ops
COPY shared /build/shared
COPY workers /build/workers
RUN uv pip install --system --no-cache --no-deps /build /build/api/client && rm -r /build

# Of the keeper: /healthz and /metrics. The API has /metrics on its own port.
ENV PIGEONHOLE_METRICS_PORT=9464
# By its number, so that Kubernetes can see that it is not root.
USER 10001
EXPOSE 8080 9464
CMD ["python", "-m", "api.main"]
