"""Settings: one frozen object, read from the environment once at the edge of the program."""

import re
from functools import cached_property
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.errors import Stop

MOST_SHARDS = 1024

# Host and path of a URL. Up to the last @ all is credentials, also where a person forgot to percent-encode a password.
_SHOWN = re.compile(r"([a-z]+)://(?:.*@)?([\w.,:\[\]-]*(?:/[^?#@]*)?)(?:[?#][^@]*)?", re.DOTALL)


def without_credentials(url: str) -> str:
    """The URL as it may be shown: without user, password and query (a query can carry a password too)."""
    match = _SHOWN.fullmatch(url)
    return f"{match[1]}://{match[2]}" if match else f"{url.partition('://')[0]}://…"


UNREADABLE = "cannot be read: are special characters of the password percent-encoded?"


def _is_ambiguous(url: str) -> bool:
    """Whether an @, / ? or # of the credentials was left as it is: a library would take a part of them for host and
    port, and name it in its errors.
    """
    rest = url.partition("://")[2]
    return rest.count("@") > 1 or ("@" in rest and "@" not in re.split("[/?#]", rest, maxsplit=1)[0])


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone, such as UTC or Europe/Berlin") from error
    return name


class Settings(BaseSettings):
    """What the environment says. Field descriptions are the README's texts; a test holds the two together."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: SecretStr = Field(
        validation_alias="DATABASE_URL", description="PostgreSQL, `postgresql://user:password@host:port/database`"
    )
    redis_url: SecretStr = Field(
        validation_alias=AliasChoices("REDIS_URL", "REDIS_PUBLIC_URL"),
        description="Redis, `redis://` or `rediss://`; if it is missing, `REDIS_PUBLIC_URL` is used",
    )
    stream: str = Field(
        "analytics:events",
        validation_alias="ANALYTICS_STREAM",
        min_length=1,
        description="key of the event stream, or its stem when there is more than one shard",
    )
    requests: str = Field(
        "analytics:requests",
        validation_alias="ANALYTICS_REQUESTS",
        min_length=1,
        description="key of the stream that the web tier asks for refreshes in",
    )
    shards: int = Field(
        1,
        validation_alias="ANALYTICS_SHARDS",
        ge=1,
        le=MOST_SHARDS,
        description="number of streams that events are spread over",
    )
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        "UTC",
        validation_alias="ANALYTICS_TIME_ZONE",
        description="IANA name of the zone whose midnight divides the days",
    )
    ledger_days: int = Field(
        35,
        validation_alias="ANALYTICS_LEDGER_DAYS",
        ge=0,
        le=36_500,
        description="days that single events are kept, and how old an event may be; 0 keeps all and accepts any age",
    )
    outcome_days: int = Field(
        7,
        validation_alias="ANALYTICS_OUTCOME_DAYS",
        ge=1,
        le=60,
        description="past days whose outcomes are counted anew each night, for what came late or was taken back",
    )
    stream_retention_hours: float = Field(
        24.0,
        validation_alias="ANALYTICS_STREAM_RETENTION_HOURS",
        ge=0,
        le=1_000_000,
        description="hours that committed entries stay in the stream, so that a restored database can read them again;"
        " at least what a rewind goes back, and less while Redis is short of memory",
    )
    exclude_bots: bool = Field(
        True,
        validation_alias="ANALYTICS_EXCLUDE_BOTS",
        description="keep bots' views in the ledger without counting them",
    )
    secret: SecretStr | None = Field(
        None,
        validation_alias="ANALYTICS_SECRET",
        description="key for the hash of `visitorId`, and for [tokens](#the-api) if it has 32 bytes or more; without it"
        " no visitor is stored, and nobody gets in",
    )
    profile_totals: bool = Field(
        False,
        validation_alias="ANALYTICS_PROFILE_TOTALS",
        description='assign the sum of all days to `profileViews` and `contactViews` of `"SpecialistProfile"`',
    )
    batch_entries: int = Field(
        50_000,
        validation_alias="ANALYTICS_BATCH_ENTRIES",
        ge=1,
        le=1_000_000,
        description="most entries in one micro-batch (one transaction)",
    )
    linger_ms: int = Field(
        0,
        validation_alias="ANALYTICS_LINGER_MS",
        ge=0,
        le=60_000,
        description="milliseconds to let entries gather after the first: fresh numbers against processor time",
    )
    rewind_minutes: float = Field(
        10.0,
        validation_alias="ANALYTICS_REWIND_MINUTES",
        ge=0,
        le=60_000_000,
        description="how far reading goes back after Redis was restarted, failed over or restored",
    )
    breaker_share: float = Field(
        0.5,
        validation_alias="ANALYTICS_BREAKER_SHARE",
        ge=0,
        le=1,
        description="share of bad entries above which a shard halts instead of burying them; 1 is never",
    )
    breaker_entries: int = Field(
        1_000,
        validation_alias="ANALYTICS_BREAKER_ENTRIES",
        ge=1,
        le=1_000_000,
        description="how many of the latest entries that share is taken of",
    )
    allow_eviction: bool = Field(
        False,
        validation_alias="ANALYTICS_ALLOW_EVICTION",
        description="start also where Redis may evict the stream (`maxmemory-policy` `allkeys-…`)",
    )
    alert_webhook: SecretStr | None = Field(
        None,
        validation_alias="ANALYTICS_ALERT_WEBHOOK",
        description="URL that alerts are posted to; without it they are only logged and shown",
    )
    alert_lag_seconds: float = Field(
        60.0,
        validation_alias="ANALYTICS_ALERT_LAG_SECONDS",
        gt=0,
        allow_inf_nan=False,
        description="age of the oldest unread entry from which on there is an alert",
    )
    alert_silence_minutes: float = Field(
        0.0,
        validation_alias="ANALYTICS_ALERT_SILENCE_MINUTES",
        ge=0,
        allow_inf_nan=False,
        description="minutes without any event after which there is an alert; 0 never, as a small site sleeps at night",
    )
    alert_dead_share: float = Field(
        0.05,
        validation_alias="ANALYTICS_ALERT_DEAD_SHARE",
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of dead letters among an hour's entries above which there is an alert; 1 never",
    )
    alert_outcomes_minutes: float = Field(
        15.0,
        validation_alias="ANALYTICS_ALERT_OUTCOMES_MINUTES",
        ge=0,
        allow_inf_nan=False,
        description="minutes after which outcomes that were not counted again are an alert; 0 never",
    )
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = Field(
        "INFO", validation_alias="ANALYTICS_LOG_LEVEL", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`"
    )

    @model_validator(mode="after")
    def _urls_have_their_schemes(self) -> "Settings":
        for variable, url, schemes in (
            ("DATABASE_URL", self.database_url, ("postgresql", "postgres")),
            ("REDIS_URL", self.redis_url, ("redis", "rediss", "unix")),
        ):
            if url.get_secret_value().partition("://")[0] not in schemes:
                raise ValueError(f"{variable} must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
            if _is_ambiguous(url.get_secret_value()):
                raise ValueError(f"{variable} {UNREADABLE}")
        if self.requests == self.stream or re.fullmatch(re.escape(self.stream) + r":\{\d+\}", self.requests):
            raise ValueError("ANALYTICS_REQUESTS must be another key than those of the events, see ANALYTICS_STREAM")
        webhook = self.alert_webhook
        if webhook is not None and webhook.get_secret_value().partition("://")[0] not in ("https", "http"):
            raise ValueError("ANALYTICS_ALERT_WEBHOOK must begin with https:// or http://")
        return self

    @property
    def rewind_ms(self) -> int:
        """How far a rewind goes back."""
        return round(self.rewind_minutes * 60_000)

    @property
    def stream_retention_ms(self) -> int:
        """How long committed entries stay in the stream: a rewind wants to find what it goes back for."""
        return max(round(self.stream_retention_hours * 3_600_000), self.rewind_ms)

    @cached_property
    def visitor_key(self) -> bytes:
        """What visitors are hashed with, as long as BLAKE2 takes it; empty if none is stored."""
        return self.secret.get_secret_value().encode()[:64] if self.secret else b""

    @cached_property
    def stream_keys(self) -> tuple[str, ...]:
        """The Redis keys of all shards; the braces keep a shard on one node of a Redis Cluster."""
        return self.keys_of(self.shards)

    def keys_of(self, shards: int) -> tuple[str, ...]:
        """The same, if there were so many shards."""
        if shards == 1:
            return (self.stream,)
        return tuple(f"{self.stream}:{{{shard}}}" for shard in range(shards))


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        Stop: a variable is missing or wrong; the line names it and never repeats its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        variable = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "missing":
            message = "is not set"
        raise Stop(f"{variable} {message}".strip()) from None
