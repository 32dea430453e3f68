# The `bgem3` command with all that an export needs: checkpoint in, Triton model repository out.
#
#   docker build --file docker/export.Dockerfile --tag bgem3-export:0.1.0 .
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
# `gpu` or `cpu`: which ONNX Runtime checks the exported graph.
ARG ACCELERATOR=gpu
# The version of TensorRT that the serving Triton has, as in 10.15.1.29, for `--engine tensorrt`: an
# engine runs on no other. Without it none can be built.
ARG TENSORRT=
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# The same user as in the Triton image, which reads what this one writes. Volumes that are new take
# their owner from these folders.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    --mount=type=cache,target=/root/.cache/pip \
    set -- /wheels/*.whl \
    && python3 -m pip install --constraint /constraints.txt "$1[export,${ACCELERATOR}]" \
        ${TENSORRT:+"tensorrt-cu13==${TENSORRT}"} \
    && groupadd --gid 1000 bgem3 \
    && useradd --uid 1000 --gid 1000 --create-home bgem3 \
    && install --directory --owner bgem3 --group bgem3 /models /cache
ENV HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/cache \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1

USER 1000:1000
WORKDIR /models
ENTRYPOINT ["bgem3"]
CMD ["export", "--help"]
