# VS Code and JupyterLab in the browser, with the project's environment behind them. From the project's folder:
#   docker build --file docker/workspace.Dockerfile --tag {{ cookiecutter.registry_project_path }}/workspace .

ARG BASE=python:3.13-slim-trixie
ARG CODE_SERVER=codercom/code-server:4.129.0

FROM ${CODE_SERVER} AS code-server

FROM ${BASE} AS environment
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/dev.txt requirements/storage.txt requirements/workspace.txt /requirements/
# Installed before the source is copied, so that an edit of the source installs nothing again.
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement /requirements/dev.txt --requirement /requirements/storage.txt --requirement /requirements/workspace.txt

FROM ${BASE}
# Whatever the base's release has of these will do. LightGBM takes its threads from libgomp1.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates git less libgomp1 make openssh-client \
 && rm -rf /var/lib/apt/lists/*
# The same number as in jobs/: a cluster that forbids root wants a number, not a name.
ARG UID=10001
RUN groupadd --gid "${UID}" app && useradd --uid "${UID}" --gid "${UID}" --no-create-home --home-dir /tmp --shell /bin/bash app
# It brings its own Node.js, so that its folder is all there is to it.
COPY --from=code-server /usr/lib/code-server /usr/lib/code-server
RUN ln -s /usr/lib/code-server/bin/code-server /usr/local/bin/code-server
# No PYTHONPATH: the source that is worked on is the one on the volume, not one in the image.
# HOME is /tmp only until the job says /data/home, which outlives the pod.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /data
USER ${UID}:${UID}
EXPOSE 8080
CMD ["code-server", "--bind-addr", "0.0.0.0:8080", "--auth", "password", "/data"]
ARG REVISION=unknown
ARG VERSION=unknown
ARG SOURCE=unknown
# What is large comes late: a builder that copies whole layers, as Buildah often must, does so for each step after it.
COPY --from=environment /opt/venv /opt/venv
# Last comes what differs from one commit to the next.
# Buildah's cache knows arguments by the steps that run with them: without one, another commit would get the labels of this.
RUN : "${REVISION} ${VERSION} ${SOURCE}"
LABEL org.opencontainers.image.title="{{ cookiecutter.repo_name }}/workspace" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
