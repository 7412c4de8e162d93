# MLflow's server with a login, for PostgreSQL and the platform's store: compose.yaml's. From the project's folder:
#   docker build --file docker/mlflow.Dockerfile --tag {{ cookiecutter.registry_project_path }}/mlflow .

ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS environment
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/mlflow.txt requirements/storage.txt /requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement /requirements/mlflow.txt --requirement /requirements/storage.txt

FROM ${BASE}
ARG UID=10001
RUN groupadd --gid "${UID}" app && useradd --uid "${UID}" --gid "${UID}" --no-create-home --home-dir /tmp app
# The jobs that MLflow can run by itself are not used; nor are its figures sent to anybody.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
WORKDIR /tmp
USER ${UID}:${UID}
EXPOSE 5000
HEALTHCHECK --start-period=120s --interval=5s --timeout=5s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:5000/health', timeout=4)"]
CMD ["mlflow", "server", "--app-name=basic-auth", "--host=0.0.0.0", "--port=5000", "--workers=2"]
ARG REVISION=unknown
ARG VERSION=unknown
ARG SOURCE=unknown
# What is large comes late: a builder that copies whole layers, as Buildah often must, does so for each step after it.
COPY --from=environment /opt/venv /opt/venv
# Buildah's cache knows arguments by the steps that run with them: without one, another commit would get the labels of this.
RUN : "${REVISION} ${VERSION} ${SOURCE}"
LABEL org.opencontainers.image.title="{{ cookiecutter.repo_name }}/mlflow" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
