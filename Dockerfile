# docker build --target cpu -t kernelite:cpu .
# docker build --target cuda -t kernelite:cuda .
# docker run --rm -v "$PWD:/work" kernelite:cpu optimize model.py:build

FROM python:3.12-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir build==1.6.1 \
    && python -m build --wheel --outdir /wheels

FROM python:3.12-slim-bookworm AS cpu
# A release of Debian keeps one version of g++, so the base tag pins it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
ARG PIP_EXTRA_INDEX_URL
COPY constraints/cpu.txt /constraints.txt
COPY --from=wheel /wheels /wheels
RUN wheel=$(echo /wheels/*.whl) \
    && pip install --no-cache-dir --constraint /constraints.txt "${wheel}[torch]" \
    && useradd --uid 10001 --create-home kernelite
USER 10001
WORKDIR /work
ENTRYPOINT ["kernelite"]
CMD ["--help"]

FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/kernelite
ENV PATH=/opt/kernelite/bin:$PATH
COPY constraints/cpu.txt /constraints.txt
COPY --from=wheel /wheels /wheels
RUN wheel=$(echo /wheels/*.whl) \
    && pip install --no-cache-dir --constraint /constraints.txt "${wheel}[triton]" \
    && useradd --uid 10001 --create-home kernelite
USER 10001
WORKDIR /work
ENTRYPOINT ["kernelite"]
CMD ["--help"]
