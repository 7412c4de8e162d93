"""The service's settings."""

import yaml
from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from . import CONF

Source = PydanticBaseSettingsSource


class Settings(BaseSettings):
    """The settings: each is an option, an environment variable such as SERVE_PORT, and a key of conf/serve.yaml."""

    model_config = SettingsConfigDict(env_prefix="SERVE_", yaml_file=CONF / "serve.yaml", extra="forbid")

    model: str = Field("", description="models:/name@alias, models:/name/version, or a folder that holds a model")
    tracking_uri: str = Field("sqlite:///mlflow.db", validation_alias="MLFLOW_TRACKING_URI", description="MLflow")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is all of them")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    max_rows: int = Field(1000, ge=1, description="rows in a request, at most")
    max_bytes: int = Field(1_000_000, ge=1, description="bytes in a request's body, at most")
    max_waiting: int = Field(4000, ge=1, description="rows waiting or being predicted before requests are refused")
    threads: int = Field(1, ge=1, description="threads for one prediction; more pods serve better than more threads")
    grace: int = Field(30, ge=0, description="seconds after SIGTERM to finish the requests that have begun")
    trusted: list[str] = Field([], description="types that a skops model may hold; else those of conf/export.yaml")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: Source, env_settings: Source, *_: Source, **__: Source
    ) -> tuple[Source, ...]:
        """Rank options above environment variables, those above the file, and that above what training trusts."""
        export = yaml.safe_load((CONF / "export.yaml").read_text(encoding="utf-8"))["export"]
        kept = InitSettingsSource(settings_cls, {"trusted": export["trusted"]})
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls), kept
