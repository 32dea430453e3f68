# NVIDIA's Triton with what the Python models of the repository need. No model is inside: mount one
# at /models, or ask for one.
#
#   docker build --file docker/triton.Dockerfile --tag bgem3-triton:0.1.0 .
#   docker build --file docker/triton.Dockerfile --tag bgem3-triton:0.1.0-bge-m3 \
#     --build-context repository=models/bge-m3 --build-arg MODEL=repository .
#
# Releases before 26.03 hang an ensemble when the queue of a later step is full. With @sha256:… behind
# it, it is pinned to the bit.
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.04-py3
# A build context, or an image, whose root is a model repository. The default is empty.
ARG MODEL=scratch

FROM ${TRITON_IMAGE} AS triton


FROM ${MODEL} AS model


FROM triton AS wheel
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


FROM triton AS packages
# `backend`, or `backend,cpu` to run the trunk on the CPU.
ARG EXTRAS=backend
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# Into a folder of its own, so that nothing of the image is replaced: its packages were tested with
# this Triton. NumPy below 2 is what the project is locked to, because the Triton that it runs
# without a container (24.10) needs that; this one would take 2 as well.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    --mount=type=cache,target=/root/.cache/pip \
    set -- /wheels/*.whl \
    && python3 -m pip install --target /opt/bgem3 --constraint /constraints.txt "$1[${EXTRAS}]" \
    && install --directory --owner 1000 --group 1000 /models
ENV PYTHONPATH=/opt/bgem3 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1


# What lets Triton count the tokens of a batch; it needs a compiler, which stays behind.
FROM packages AS batcher
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && /opt/bgem3/bin/bgem3 build-batcher --output /batcher


FROM packages
# Beside the backends, where Triton looks for all their models; one without a budget in its
# configuration is batched as ever.
COPY --from=batcher /batcher/batchstrategy.so /opt/tritonserver/backends/onnxruntime/
COPY --from=batcher /batcher/batchstrategy.so /opt/tritonserver/backends/tensorrt/
COPY --from=batcher /batcher/batchstrategy.so /opt/tritonserver/backends/python/
COPY --from=model --chown=1000:1000 / /models/

# The image's own `triton-server`; by number, so that an orchestrator can see that it is not root.
USER 1000:1000
EXPOSE 8000 8001 8002
# Loading the weights takes minutes on a slow disk.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 \
    CMD ["curl", "--fail", "--silent", "--show-error", "http://127.0.0.1:8000/v2/health/ready"]

# NVIDIA's own entry point first: it sets up CUDA's forward compatibility and checks the driver.
# What a stranger could run code through needs a key: that of the environment, else one that nobody
# is told (docs/security.md).
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "/bin/sh", "-euc", "\
closed=model-repository,shared-memory,trace,logging:bgem3-key=${BGEM3_TRITON_KEY:-$(head -c 32 /dev/urandom | sha256sum | cut -c 1-64)}; \
exec tritonserver --model-control-mode=explicit '--load-model=*' \
  --http-restricted-api=\"$closed\" --grpc-restricted-protocol=\"$closed\" \"$@\"", "tritonserver"]
CMD ["--model-repository=/models"]
