# syntax=docker/dockerfile:1.7
ARG PYTHON=3.11
ARG VARIANT

FROM --platform=linux/amd64 python:${PYTHON}-slim${VARIANT:+-$VARIANT} AS base
ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1
WORKDIR /src

FROM base AS builder
COPY requirements/*.txt ./
RUN pip wheel --wheel-dir /wheels -r requirements.txt

FROM base AS runtime
COPY --from=builder /wheels /wheels
COPY --from=0 /etc/passwd /etc/passwd2
COPY --from=builder /src/requirements.txt /app/requirements.txt
RUN pip install --no-index --find-links=/wheels -r /app/requirements.txt \
 && rm -rf /wheels
COPY --from=registry.example.org:5000/tools/tini:v0.19 /tini /tini
ENTRYPOINT ["/tini", "--"]
