# The champion over HTTP, with what that takes and nothing else. From the project's folder:
#   docker build --file docker/serve.Dockerfile --tag {{ cookiecutter.registry_project_path }}/serve .

ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS environment
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/serve.txt requirements/storage.txt /requirements/
# Installed before the source is copied, so that an edit of the source installs nothing again.
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement /requirements/serve.txt --requirement /requirements/storage.txt

FROM ${BASE} AS source
WORKDIR /app
COPY conf/serve.yaml conf/export.yaml conf/
COPY src src
RUN python3 -m compileall -q src

FROM ${BASE}
# The same number as in jobs/: a cluster that forbids root wants a number, not a name.
ARG UID=10001
RUN groupadd --gid "${UID}" app && useradd --uid "${UID}" --gid "${UID}" --no-create-home --home-dir /tmp app
# Only /tmp can be written to, so that is where libraries may keep their caches. There is no git here to ask.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app/src \
    PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet \
    HOME=/tmp \
    SERVE_HOST=0.0.0.0 \
    SERVE_PORT=8000
WORKDIR /app
USER ${UID}:${UID}
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=10s --timeout=5s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/livez' % os.environ['SERVE_PORT'], timeout=4)"]
CMD ["python", "-m", "{{ cookiecutter.src_package_name }}.serve"]
ARG REVISION=unknown
ARG VERSION=unknown
ARG SOURCE=unknown
# What is large comes late: a builder that copies whole layers, as Buildah often must, does so for each step after it.
COPY --from=environment /opt/venv /opt/venv
COPY --from=source /app /app
# Last comes what differs from one commit to the next.
# Buildah's cache knows arguments by the steps that run with them: without one, another commit would get the labels of this.
RUN : "${REVISION} ${VERSION} ${SOURCE}"
LABEL org.opencontainers.image.title="{{ cookiecutter.repo_name }}/serve" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
