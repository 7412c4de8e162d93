# The serve image with a model inside, for places that cannot reach the registry of models. From the project's folder:
#   mlflow artifacts download --artifact-uri models:/{{ cookiecutter.repo_name }}@champion --dst-path baked/model
#   docker build --file docker/baked.Dockerfile --tag {{ cookiecutter.registry_project_path }}/serve:baked baked

ARG SERVE={{ cookiecutter.registry_project_path }}/serve:latest

FROM ${SERVE}
COPY model /model
ENV SERVE_MODEL=/model
