# The same commands with CUDA's libraries beside them, for models that use a GPU. From the project's folder:
#   docker build --file docker/pipeline-gpu.Dockerfile --tag {{ cookiecutter.registry_project_path }}/pipeline-gpu .

ARG BASE=nvidia/cuda:13.0.2-runtime-ubuntu24.04

FROM ${BASE} AS python
# Ubuntu's own Python, of the release that the base image is: its version moves with the security fixes only.
# LightGBM takes its threads from libgomp1.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

FROM python AS environment
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/pipeline.txt requirements/storage.txt /requirements/
# Installed before the source is copied, so that an edit of the source installs nothing again.
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement /requirements/pipeline.txt --requirement /requirements/storage.txt

FROM python AS source
WORKDIR /app
COPY conf conf
COPY src src
RUN python3 -m compileall -q src

FROM python
# The same number as in jobs/: a cluster that forbids root wants a number, not a name.
ARG UID=10001
RUN groupadd --gid "${UID}" app && useradd --uid "${UID}" --gid "${UID}" --no-create-home --home-dir /tmp app
# Only /tmp can be written to, so that is where libraries may keep their caches. There is no git here to ask.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app/src \
    PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet \
    HOME=/tmp
WORKDIR /app
USER ${UID}:${UID}
CMD ["python", "-m", "{{ cookiecutter.src_package_name }}.train"]
ARG REVISION=unknown
ARG VERSION=unknown
ARG SOURCE=unknown
# What is large comes late: a builder that copies whole layers, as Buildah often must, does so for each step after it.
COPY --from=environment /opt/venv /opt/venv
COPY --from=source /app /app
# Last comes what differs from one commit to the next. Runs in MLflow are tagged with the commit.
# Buildah's cache knows arguments by the steps that run with them: without one, another commit would get the labels of this.
RUN : "${REVISION} ${VERSION} ${SOURCE}"
ENV REVISION=${REVISION}
LABEL org.opencontainers.image.title="{{ cookiecutter.repo_name }}/pipeline-gpu" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
