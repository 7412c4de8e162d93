"""The service's settings, and the command line that they are read from."""

import sys
from importlib import import_module
from typing import NoReturn

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from . import CONF, servers
from .errors import told

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


def start() -> NoReturn:
    """Read the settings, and serve: the libraries for that are imported once the settings can be followed."""
    try:
        settings = Settings(_cli_parse_args=True, _cli_prog_name="serve", _cli_kebab_case=True)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, item['loc']))}={item['input']!r}: {item['msg']}" for item in error.errors()]
        sys.exit("serve: " + "; ".join(faults))
    with told("serve"):
        servers.claim(settings.host, settings.port)
        if settings.model.startswith("models:/"):
            servers.reach("MLFLOW_TRACKING_URI", settings.tracking_uri)
        import_module(".serve", __package__).main(settings)
    sys.exit()
