"""What the environment says, and what a person reads when it says something wrong."""

import pytest

from worker.errors import Stop
from worker.settings import load_settings, without_credentials

GOOD = {"DATABASE_URL": "postgresql://u:geheim@db.example/x", "REDIS_URL": "redis://:geheim@redis.example:6379/0"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Only the two URLs are set."""
    for name in ("REDIS_PUBLIC_URL", "ANALYTICS_SHARDS", "ANALYTICS_TIME_ZONE", "ANALYTICS_STREAM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_defaults(environment: pytest.MonkeyPatch) -> None:
    """Two URLs are enough."""
    settings = load_settings()
    assert (settings.stream_keys, settings.time_zone, settings.ledger_days) == (("analytics:events",), "UTC", 35)


def test_public_redis_url_stands_in(environment: pytest.MonkeyPatch) -> None:
    """Without REDIS_URL, REDIS_PUBLIC_URL is used."""
    environment.delenv("REDIS_URL")
    environment.setenv("REDIS_PUBLIC_URL", "redis://public.example:1")
    assert load_settings().redis_url.get_secret_value() == "redis://public.example:1"


def test_shards_have_hash_tagged_keys(environment: pytest.MonkeyPatch) -> None:
    """With more than one shard each stream's key says its number in braces."""
    environment.setenv("ANALYTICS_SHARDS", "3")
    assert load_settings().stream_keys == ("analytics:events:{0}", "analytics:events:{1}", "analytics:events:{2}")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", None),
        ("DATABASE_URL", "mysql://u:geheim@db.example/x"),
        ("DATABASE_URL", "postgresql://u:geheim/1@db.example/x"),
        ("DATABASE_URL", "postgresql://u:1@geheim@db.example/x"),
        ("DATABASE_URL", "postgresql://u:geheim#1@db.example/x"),
        ("REDIS_URL", "redis://:geheim?1@redis.example"),
        ("REDIS_URL", None),
        ("REDIS_URL", "http://:geheim@redis.example"),
        ("ANALYTICS_SHARDS", "0"),
        ("ANALYTICS_SHARDS", "many"),
        ("ANALYTICS_TIME_ZONE", "Mars/Olympus"),
        ("ANALYTICS_TIME_ZONE", "../../etc/passwd"),
        ("ANALYTICS_REQUESTS", "analytics:events"),
        ("ANALYTICS_REQUESTS", "analytics:events:{3}"),
        ("ANALYTICS_LEDGER_DAYS", "-1"),
        ("ANALYTICS_REWIND_MINUTES", "1e308"),
        ("ANALYTICS_STREAM_RETENTION_HOURS", "inf"),
        ("ANALYTICS_EXCLUDE_BOTS", "perhaps"),
    ],
)
def test_wrong_value(environment: pytest.MonkeyPatch, variable: str, value: str | None) -> None:
    """A missing or wrong variable is named in one line, and no secret is repeated."""
    if value is None:
        environment.delenv(variable)
    else:
        environment.setenv(variable, value)
    with pytest.raises(Stop) as caught:
        load_settings()
    line = str(caught.value)
    assert variable in line
    assert "\n" not in line
    assert "geheim" not in line


def test_settings_do_not_print_secrets(environment: pytest.MonkeyPatch) -> None:
    """The printed form of the settings holds no password."""
    environment.setenv("ANALYTICS_SECRET", "geheim")
    assert "geheim" not in repr(load_settings())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:pw@host:5432/db?password=pw", "postgresql://host:5432/db"),
        ("redis://:p@ss@host:6379/0", "redis://host:6379/0"),
        ("redis://host", "redis://host"),
        ("postgresql://u:pa/ss@h/db", "postgresql://h/db"),
        ("postgresql://u:pa#ss@h/db", "postgresql://h/db"),
        ("postgresql://u:pa?ss@h:1/db?sslmode=require", "postgresql://h:1/db"),
        ("redis://:se[cret@h", "redis://h"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://h:1/ü ö@", "redis://"),
        ("postgresql:///db?host=/tmp/x&user=u&password=pw", "postgresql:///db"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    """A URL is shown without user, password and query."""
    assert without_credentials(url) == shown
