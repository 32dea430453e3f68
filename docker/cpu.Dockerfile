# `bgem3 serve` for machines without a GPU, all in one: the Triton of the package registry and the HTTP
# service in front of it. No model is inside: mount one at /models, or ask for one.
#
#   docker build --file docker/cpu.Dockerfile --tag bgem3-cpu:0.1.0 .
#   docker build --file docker/cpu.Dockerfile --tag bgem3-cpu:0.1.0-bge-m3 \
#     --build-context repository=models/bge-m3 --build-arg MODEL=repository .
#
# With @sha256:… behind it, it is pinned to the bit.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
# A build context, or an image, whose root is a model repository. The default is empty.
ARG MODEL=scratch

FROM ${PYTHON_IMAGE} AS python


FROM ${MODEL} AS model


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
# An index with CPU builds of PyTorch saves gigabytes of CUDA.
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    --mount=type=cache,target=/root/.cache/pip \
    set -- /wheels/*.whl \
    && python3 -m pip install --constraint /constraints.txt "$1[backend,cpu,server,gateway,retrieval]" \
    && groupadd --gid 1000 bgem3 \
    && useradd --uid 1000 --gid 1000 --create-home bgem3 \
    && install --directory --owner bgem3 --group bgem3 /models \
    && install --directory --mode 1777 /cache
COPY --from=model --chown=1000:1000 / /models/
# Triton's Python backend is put together there at a start: a tmpfs in its place needs `exec`. Some
# engines give that the mode of this folder, and root as its owner.
ENV XDG_CACHE_HOME=/cache \
    PYTHONUNBUFFERED=1

USER 1000:1000
EXPOSE 33330 8000 8001 8002
# Ready means that a text came back as vectors. With BGEM3_TLS_CERTIFICATE set, give the container a
# check of its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:33330/health/ready', timeout=4)"]

ENTRYPOINT ["bgem3"]
CMD ["serve", "/models"]
