"""Over TLS: a certificate that holds is used for everything, one that does not is refused before a password is sent."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.course import run_course
from tests.debian import Unavailable
from tests.support import SITE, WORKER_ROLE, run_worker, settings_for, settings_with, url_of
from tests.tls import Certificate, TlsPostgres, TlsRedis, behind_tls
from worker.embedded import Servers
from worker.errors import Stop
from worker.settings import Settings
from worker.store import connect_postgres
from worker.stream import connect_redis, redis_errors


@dataclass(frozen=True)
class Secured:
    """Both servers over TLS: for the worker, and for the owner of the database."""

    settings: Settings
    owner_url: str = field(repr=False)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Certificate:
    return Certificate(folder)


@pytest.fixture(params=["a proxy", "the servers themselves"])
def secured(
    request: pytest.FixtureRequest, folder: Path, certificate: Certificate, servers: Servers, worker_password: str
) -> Iterator[Secured]:
    """TLS is spoken by a proxy before the wheels' servers, which have none, or by Debian's servers."""
    trust = f"sslmode=verify-full&sslrootcert={certificate.authority}"
    with ExitStack() as stack:
        if request.param == "a proxy":
            plain = request.getfixturevalue("site_database"), request.getfixturevalue("redis_url")
            database_url, redis_url = (stack.enter_context(behind_tls(url, certificate)) for url in plain)
            redis_url += f"?ssl_ca_certs={certificate.authority}"
        else:
            try:
                postgres, redis = TlsPostgres(folder / "p", certificate), TlsRedis(folder / "r", certificate)
            except Unavailable as reason:
                pytest.skip(f"no servers with TLS: {reason}")
            database_url = stack.enter_context(postgres).url.replace("127.0.0.1", "localhost")
            redis_url = stack.enter_context(redis).url
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute(SITE)
                connection.execute(f"CREATE ROLE {WORKER_ROLE} LOGIN PASSWORD '{worker_password}'".encode())
        settings = settings_for(f"{url_of(database_url, WORKER_ROLE, worker_password)}?{trust}", redis_url)
        yield Secured(settings, f"{database_url}?{trust}")


def test_everything_over_tls(secured: Secured, tmp_path: Path) -> None:
    """Migrated, run, killed and looked at over `rediss://` and `sslmode=verify-full`: the counts are exact."""
    as_owner = settings_with(secured.settings, DATABASE_URL=secured.owner_url)
    code, _, errors = run_worker(as_owner, "migrate")
    assert code == 0, errors
    run_course(secured.settings, secured.owner_url, tmp_path / "log", kill=True)
    for command in ("verify", "status"):
        code, output, errors = run_worker(secured.settings, command)
        assert (code, errors) == (0, ""), output
        assert "sslrootcert" not in output

    another = Certificate(tmp_path).authority
    for refused in (
        {"DATABASE_URL": with_host(secured.settings.database_url.get_secret_value(), "127.0.0.1")},
        {"DATABASE_URL": with_authority(secured.settings.database_url.get_secret_value(), another)},
        {"REDIS_URL": with_host(secured.settings.redis_url.get_secret_value(), "127.0.0.1")},
        {"REDIS_URL": with_authority(secured.settings.redis_url.get_secret_value(), another)},
        {"REDIS_URL": secured.settings.redis_url.get_secret_value().partition("?")[0]},
    ):
        code, _, errors = run_worker(settings_with(secured.settings, **refused), "run")
        assert (code, len(errors.splitlines())) == (2, 1), (refused, errors)
        assert "certificate" in errors, errors


def with_host(url: str, host: str) -> str:
    """The same server under a name that its certificate does not have."""
    return url.replace("@localhost:", f"@{host}:")


def with_authority(url: str, file: Path) -> str:
    """The same URL, trusting somebody else."""
    return url.rpartition("=")[0] + f"={file}"


@pytest.mark.parametrize(
    "parameter", ["sslmode=verify-full", "sslmode=none", "sslmode=verify-full&sslrootcert=/no/such/file"]
)
def test_postgresql_without_tls(settings: Settings, parameter: str) -> None:
    """Where TLS is asked for and cannot be had, a person is told; nobody goes on without."""
    url = f"{settings.database_url.get_secret_value()}?{parameter}"
    with pytest.raises(Stop):
        connect_postgres(settings_with(settings, DATABASE_URL=url), "test")


@pytest.mark.parametrize(
    "parameter", ["?ssl_ca_certs=/no/such/file", "?ssl_cert_reqs=perhaps", "?ssl_unheard_of=1", "?protocol=9"]
)
def test_redis_without_tls(settings: Settings, parameter: str) -> None:
    """The same for Redis: a file that is missing, a parameter or a value that nobody knows."""
    url = settings.redis_url.get_secret_value().replace("redis://", "rediss://") + parameter
    asking = settings_with(settings, REDIS_URL=url)
    with pytest.raises(Stop, match=r"REDIS_URL"), connect_redis(asking) as client, redis_errors(asking):
        client.ping()
