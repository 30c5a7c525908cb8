# The training, on the CPU. Run it as the owner of the folder that it writes to:
#   docker build -f Dockerfile.ml -t product-categorizer-trainer .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/model:/model" -v "$PWD/data:/data:ro" \
#     product-categorizer-trainer --data /data/vectors.csv --epochs 600

ARG PYTHON_IMAGE=python:3.11.16-slim-bookworm

FROM ${PYTHON_IMAGE}

# PyPI's PyTorch brings gigabytes of CUDA along. This index has the CPU build, whose version (+cpu) pip takes for the
# newer one. Empty: PyPI alone.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
COPY ml/requirements.txt /ml/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --root-user-action=ignore --requirement /ml/requirements.txt

COPY ml/*.py /ml/
# Without a mount the model can still be written, and taken out with `docker cp`.
# The files of a checkout made with a strict umask are root's alone.
RUN useradd --uid 1000 --user-group --no-create-home --shell /usr/sbin/nologin trainer \
    && install --directory --owner=trainer --group=trainer /model \
    && chmod -R a+rX /ml

# The root file system may be read-only, and the user one that has no home here.
# ORT_DISABLE_TELEMETRY: onnxruntime would report the model and its use to its maker, and write below $HOME.
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1
# `trainer`
USER 1000:1000
# It runs to its end: there is nothing to ask after its health.
HEALTHCHECK NONE
# Arguments come after these, and a second --out wins. Python handles SIGTERM itself and starts no other process: no
# init is needed.
ENTRYPOINT ["python", "/ml/train_product_category.py", "--out", "/model"]
CMD []

ARG PYTHON_IMAGE
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="product-categorizer-trainer" \
      org.opencontainers.image.description="Trains the product categorizer's network and exports it to ONNX." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
