# The HTTP service alone, with search, in front of a Triton that runs elsewhere: no torch, no Triton,
# no model.
#
#   docker build --file docker/gateway.Dockerfile --tag bgem3-gateway:0.1.0 .
#   docker run --publish 33330:33330 --env BGEM3_TRITON=triton.example:8001 bgem3-gateway:0.1.0
# With @sha256:… behind it, it is pinned to the bit.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS python


FROM python AS wheel
ARG PIP_INDEX_URL
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY client client
COPY export export
COPY python_backend python_backend
COPY server server
COPY retrieval retrieval
COPY benchmarks benchmarks
COPY model_repository model_repository
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip wheel --no-deps --wheel-dir /wheels .


FROM python
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    --mount=type=cache,target=/root/.cache/pip \
    set -- /wheels/*.whl \
    && python3 -m pip install --constraint /constraints.txt "$1[gateway,retrieval]" \
    && groupadd --gid 1000 bgem3 \
    && useradd --uid 1000 --gid 1000 --create-home bgem3
ENV PYTHONUNBUFFERED=1

USER 1000:1000
EXPOSE 33330
# Ready means that a text came back as vectors. The image has no curl. With BGEM3_TLS_CERTIFICATE
# set, give the container a check of its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:33330/health/ready', timeout=4)"]

ENTRYPOINT ["bgem3", "gateway"]
