"""Every setting, once: from the environment (``HARDPOSE_*``), else ``hardpose.toml``, else the default.

This is the only module that reads the environment. Nested values use two underscores:
``HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND=4``. Each that does not show (``SecretStr``) may lie in a file
instead: ``HARDPOSE_BROKER_URL_FILE=/run/secrets/broker_url``.
"""

import json
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as NotJson

from broker.errors import BrokerUnavailable, SettingsError
from broker.intake import Intake
from broker.recipe import Comparison, DuplicateRule, FullBodyRule, Sampling, TeacherGates
from broker.secret_files import SecretFiles, is_secret, with_password

Tool = Literal["ytdlp", "pytubefix", "pytube"]
"""A downloader of sites, by the name of its package (yt-dlp's import name has no hyphen)."""
Provider = Literal["tensorrt", "cuda", "cpu"]
"""What ONNX Runtime computes on."""
TOKENS_VARIABLE = "HARDPOSE_API_TOKENS"
"""Not handed on to workers: they read what strangers send, and have no use for it."""
Plain = str | int | float | bool
_ONE_GPU = "([0-9]+|(GPU|MIG)-[0-9A-Za-z/-]+)"


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hardpose" / "weights"


def _absolute(path: Path) -> str:
    return str(path.absolute())


class Downloads(BaseModel):
    """How videos are fetched from sites. What changes with the sites every month is here, not in code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tools: tuple[Tool, ...] = Field(("ytdlp", "pytubefix"), min_length=1)
    """Tried in this order; the next one only when one no longer understands the site."""
    egress: str = Field("default", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """Name of the address (or account) under which sites see this worker. Workers behind one address share
    its name, and with it one rate and one breaker."""
    videos_per_hour: float = Field(300.0, gt=0)
    """Of one egress, over all workers. About 300 is what YouTube allows a guest, 2,000 an account."""
    burst: int = Field(5, ge=1)
    """Videos that may be asked for at once after a pause."""
    breaker_pause_seconds: float = Field(3600.0, gt=0)
    """For which nothing is asked after a bot check or "too many requests"; doubles while it goes on."""
    breaker_max_pause_seconds: float = Field(6 * 3600.0, gt=0)
    max_bot_checks: int = Field(3, ge=1)
    """Times that one link may itself set off the breaker before it fails; waiting for it costs nothing."""
    player_clients: tuple[str, ...] = ()
    """yt-dlp's YouTube player clients; none: its own choice, which changes with its releases."""
    extractor_args: dict[str, dict[str, list[str]]] = {}
    """Passed to yt-dlp's extractors, for example a PO token provider's."""
    pytube_client: str = ""
    """The client that pytubefix or pytube pretends to be; empty: its own choice."""
    format: str = ""
    """yt-dlp's format expression in place of ours (a picture without sound, H.264 before VP9 before AV1);
    ``{height}`` stands for the largest height."""
    max_list_entries: int = Field(5000, ge=1)
    """Most videos taken of one playlist or channel where a job sets no limit of its own."""


class ComputeSettings(BaseModel):
    """What the models of this process may use. It changes the speed, not the result: no part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    providers: tuple[Provider, ...] = ()
    """What ONNX Runtime uses, best first, for example ``["tensorrt", "cuda"]``; each has to be here. Empty:
    CUDA where there is a GPU, else the CPU."""
    pose_batch: int | None = Field(None, ge=1)
    """Frames that the pose model looks at in one call; none: the model's own, 1 on a CPU."""
    mask_batch: int | None = Field(None, ge=1)
    """Frames that the teacher looks at in one call."""


class Settings(BaseSettings):
    """All settings. A value that cannot be used is refused with its name when the program starts."""

    model_config = SettingsConfigDict(
        env_prefix="HARDPOSE_", env_nested_delimiter="__", extra="forbid", validate_default=True
    )

    # --- where things are ---
    home: Path = Path("hardpose-out/state")
    """Folder of the catalog, the artifacts, the embedded broker and the logs, unless URLs say otherwise."""
    weights_dir: Path = Field(default_factory=_cache_folder)
    """Downloaded weights; shared by all jobs, safe to delete."""
    temp_dir: Path = Path(tempfile.gettempdir())
    """Folder for partial downloads and copies of remote artifacts."""
    broker_url: SecretStr | None = None
    """``redis://``, ``rediss://``, ``redis+sentinel://HOST,HOST/SERVICE/DB`` or ``amqp://`` (see
    ``broker.broker_url``). Without it an embedded Valkey server is started."""
    broker_ca: Path | None = None
    """Certificate authority (PEM) that has signed the broker's certificate, for ``rediss://`` and ``amqps://``;
    none: the system's."""
    broker_password: SecretStr | None = None
    """Filled into ``broker_url``, properly quoted, where that holds none; so are the next two into theirs."""
    control_url: SecretStr | None = None
    """Redis for the small shared state when the broker is not Redis; by default the broker itself."""
    control_password: SecretStr | None = None
    namespace: str = Field("", pattern=r"^[a-z0-9-]*$")
    """Prefix of all keys in Redis, for systems that share a server but not a catalog."""
    catalog_url: SecretStr | None = None
    """``postgresql+psycopg://...`` or ``sqlite:///...``; by default a SQLite file in ``home``."""
    catalog_password: SecretStr | None = None
    artifacts_url: str | None = None
    """``s3://bucket/prefix``, ``gs://``, ``az://`` or ``file:///folder``; by default a folder in ``home``."""
    artifacts_key_id: SecretStr | None = None
    """Of ``s3://``, with its secret key; without them ``AWS_ACCESS_KEY_ID`` and what else obstore finds."""
    artifacts_secret_key: SecretStr | None = None

    # --- the work ---
    placement: str = "pose | mask | me | compare"
    """Which stages share a queue: ``|`` parts queues, ``+`` joins stages in one process."""
    pose_model: str = "blazepose"
    pose_options: dict[str, Plain] = {}
    """Options of the pose model in place of its defaults, for example ``{"precision": "fp16"}``; part of the
    recipe. `hardpose models show NAME` lists them."""
    mask_model: str = "blazepose"
    mask_options: dict[str, Plain] = {}
    """Options of the teacher in place of its defaults; part of the recipe."""
    device_model: str = "litert"
    """The device: an entry point's name, the path of a ``.tflite`` or ``.onnx`` file or of a device's
    description (``me.toml``), or the name of a device whose worker has announced itself."""
    device_threshold: float = Field(0.5, gt=0, lt=1)
    """Probability from which a pixel of the device's output counts as person."""
    sampling: Sampling = Sampling()
    rule: FullBodyRule = FullBodyRule()
    duplicates: DuplicateRule = DuplicateRule()
    teacher: TeacherGates = TeacherGates()
    comparison: Comparison = Comparison()

    # --- the machine ---
    gpu: str | None = Field(None, pattern=rf"^(none|all|{_ONE_GPU}(,{_ONE_GPU})*)$")
    """The only GPU that this worker sees: its number as `nvidia-smi` counts, its UUID, or ``none``. Several
    parted by commas, or ``all``: a process for each."""
    gpu_slots: int = Field(1, ge=1, le=64)
    """Processes on each GPU; each may take its share of the memory, or ``gpu_memory``."""
    gpu_memory: ByteSize | None = Field(None, ge=256 * 1024**2)
    """Most GPU memory of one process, such as ``8GiB``; models that share a process share it. None: no limit,
    or the slot's share."""
    compute: ComputeSettings = ComputeSettings()

    # --- remote devices ---
    device: Path | None = None
    """Of a device's own worker: the page that describes the device (``me.toml``)."""
    device_backlog: int = Field(200, ge=1)
    """Segments that may wait for one device queue before the stages in front of it stop running ahead."""
    inline_backlog: int = Field(25, ge=1)
    """The same, if fewer, where the messages hold the pictures: what waits is in the broker's memory, up to
    ``inline_max_bytes`` of pictures and a third more as text for each segment (some 6 MB at 512 x 512)."""
    inline_max_bytes: int = Field(8 * 1024**2, ge=1024)
    """Most bytes of pictures in one message to a device that does not reach the artifact store."""

    # --- limits on what is taken in ---
    max_video_bytes: int = Field(4 * 1024**3, gt=0)
    max_duration_seconds: float = Field(4 * 3600.0, gt=0)
    max_frame_pixels: int = Field(4096 * 2304, gt=0)
    """Largest frame, in pixels; an 8K frame takes 100 MB as RGB and no device works at that size."""
    download_timeout_seconds: float = Field(1800.0, gt=0)
    allow_networks: tuple[str, ...] = ()
    """Private networks (CIDR) that a link may reach, for example ``["10.1.2.0/24"]``; none by default."""
    intake: Intake = Intake()
    """What a job takes in unless its own options say otherwise."""

    # --- sites ---
    downloads: Downloads = Downloads()
    download_proxy: SecretStr | None = None
    """``http://`` or ``socks5://`` proxy, with user and password if it wants them, for everything that is
    asked of sites. It goes with an egress name of its own."""
    download_cookies: Path | None = None
    """A cookies.txt for yt-dlp. It puts the account it belongs to at risk."""

    # --- the HTTP API ---
    api_host: str = "127.0.0.1"
    """Address to listen on. On any but loopback the API refuses to start without ``api_tokens``."""
    api_port: int = Field(8642, ge=0, le=65535)
    api_tokens: SecretStr | None = None
    """Who may do what: ``NAME:ROLES:TOKEN``, several parted by spaces; roles are ``read``, ``enqueue``,
    ``review`` and ``admin``, joined by ``+``. A token has at least 16 characters."""
    api_hosts: tuple[str, ...] = ()
    """Names by which the API may be called beside the one it listens on: ``hardpose.example.org``."""
    api_origins: tuple[str, ...] = ()
    """Origins of foreign pages that may call it (CORS): ``https://lab.example.org``; none by default."""
    api_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses or networks of TLS proxies in front of it, whose X-Forwarded-For and -Proto are believed: the
    address of a caller, and whether a session's cookie is for https alone."""
    api_folders: tuple[Path, ...] = ()
    """Folders of the workers' machines whose files the API may be asked to examine; none by default."""
    api_max_body_bytes: int = Field(1024**2, ge=1024)
    """Largest request; a list of 10,000 links has some 500 KB."""
    api_requests_per_minute: int = Field(1200, ge=1)
    """Of one token, or of one address without tokens. Pictures of frames count a tenth."""

    # --- metrics ---
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(None, ge=0, le=65535)
    """Where a worker serves its metrics (Prometheus); none: nowhere; 0: on any free port. Of several that one
    command starts, the first has this one, the next the one behind it. The API's are at its own /metrics."""

    # --- Flower ---
    flower_auth: SecretStr | None = None
    """``USER:PASSWORD`` of Flower's pages, at least 12 characters of password; none: a password is made and
    kept in the home folder, and Flower listens on loopback only."""

    # --- the queue ---
    visibility_timeout: int = Field(60, ge=2)
    """Seconds after which the messages of a worker that died are given to another; leases are renewed."""
    repairs: bool = True
    """Whether workers that reach the catalog look for lost messages and send anew what is open; `hardpose
    run` and `up` do so for theirs."""
    max_attempts: int = Field(3, ge=1)
    """Starts of one stage on one segment before the segment is called poison."""
    soft_time_limit: int = Field(600, gt=0)
    """Seconds after which a stage is told to stop."""
    hard_time_limit: int = Field(660, gt=0)
    """Seconds after which its process is killed."""
    threads: int = Field(1, ge=1)
    """Threads of each model, of OpenCV and of the decoder in one worker process."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class fixes the name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class fixes the name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line before the environment before ``hardpose.toml`` (or ``HARDPOSE_CONFIG``).

        Files of secrets stand with the environment: a secret that it holds too is refused there.
        """
        file = Path(os.environ.get("HARDPOSE_CONFIG", "hardpose.toml"))
        try:
            toml = TomlConfigSettingsSource(settings_cls, toml_file=file)
            return init_settings, SecretFiles(settings_cls), env_settings, toml
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"The file {file} is not TOML: {error}.", "Correct it or remove it."
            ) from error

    @model_validator(mode="after")
    def _fill_in_passwords(self) -> Self:
        for name in ("broker", "control", "catalog"):
            url, password = getattr(self, f"{name}_url"), getattr(self, f"{name}_password")
            if url is not None and password is not None:
                filled = with_password(url.get_secret_value(), password.get_secret_value())
                setattr(self, f"{name}_url", SecretStr(filled))
        return self

    @model_validator(mode="after")
    def _both_keys_or_none(self) -> Self:
        if (self.artifacts_key_id is None) != (self.artifacts_secret_key is None):
            missing = "ARTIFACTS_KEY_ID" if self.artifacts_key_id is None else "ARTIFACTS_SECRET_KEY"
            raise SettingsError(
                f"HARDPOSE_{missing} is not set, and the other key of the artifact store is.",
                f"Set it, or HARDPOSE_{missing}_FILE.",
            )
        return self

    @property
    def broker(self) -> str:
        """The broker's URL, password included: never log it.

        Raises:
            BrokerUnavailable: when none is configured; ``hardpose run`` and ``up`` fill in their own.
        """
        if self.broker_url is None:
            raise BrokerUnavailable(
                f"No broker is configured, and none runs on {self.home.absolute()}.",
                "Start one with `hardpose up`, or set HARDPOSE_BROKER_URL=redis://host:6379/0.",
            )
        return self.broker_url.get_secret_value()

    @property
    def catalog(self) -> str:
        """The catalog's URL, password included: never log it."""
        if self.catalog_url is not None:
            return self.catalog_url.get_secret_value()
        return f"sqlite:///{self.home.absolute() / 'catalog.sqlite'}"

    @property
    def artifacts(self) -> str:
        """The artifact store's URL."""
        return self.artifacts_url or (self.home.absolute() / "artifacts").as_uri()

    def environment(self, tokens: bool = False) -> dict[str, str]:
        """The settings that differ from the defaults, as variables for a child process (secrets included).

        Values of secrets take the place of the files that they came from: those variables are emptied, for
        a child that inherits this environment.

        Args:
            tokens: also those of the HTTP API and Flower's password, which no worker has a use for.
        """
        files = {f"{name}_FILE" for name in SECRET_VARIABLES} & set(os.environ)
        variables = dict.fromkeys(sorted(files), "")
        for name in sorted(self.model_fields_set - (set() if tokens else {"api_tokens", "flower_auth"})):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
            elif isinstance(value, Path):
                text = str(value.absolute())
            elif isinstance(value, BaseModel):
                text = value.model_dump_json()
            else:
                text = value if isinstance(value, str) else json.dumps(value, default=_absolute)
            variables[f"HARDPOSE_{name.upper()}"] = text
        return variables


SECRET_VARIABLES = frozenset(
    f"HARDPOSE_{name.upper()}" for name, field in Settings.model_fields.items() if is_secret(field)
)
"""Of the settings that do not show."""


def load_settings(**overrides: object) -> Settings:
    """Reads the settings.

    Args:
        **overrides: values from the command line; ``None`` means not given.

    Raises:
        SettingsError: names the setting, its value's fault and where it was set.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "__".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(
            f"The setting HARDPOSE_{name} cannot be used: {first['msg']}.",
            "Set it right in the environment, in hardpose.toml or on the command line.",
        ) from error
    except NotJson as error:
        raise SettingsError(
            f"A setting is not JSON: {error}.",
            "A list or a table is written as JSON, in the shell within quotes: "
            "HARDPOSE_COMPUTE__PROVIDERS='[\"cuda\"]'.",
        ) from error
