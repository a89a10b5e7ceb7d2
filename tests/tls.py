"""PostgreSQL and Redis that speak TLS with a certificate made for the test."""

import asyncio
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import trustme

from tests.debian import fetch, programs
from worker.embedded import EmbeddedPostgres, EmbeddedRedis

POSTGRES_HERE = Path("/usr/lib/postgresql/15/bin")
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""What a client of PostgreSQL says first when it wants TLS; the answer is the letter S."""


class Certificate:
    """A certificate for `localhost` as files, and the authority that signed it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        self.authority, self.chain, self.key = (folder / name for name in ("ca.pem", "chain.pem", "key.pem"))
        authority.cert_pem.write_to_path(str(self.authority))
        issued.cert_chain_pems[0].write_to_path(str(self.chain))
        issued.private_key_pem.write_to_path(str(self.key))
        self.key.chmod(0o600)


class TlsRedis(EmbeddedRedis):
    """Debian's Redis, which has TLS built in, unlike the wheel's. It has no port without."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        here = shutil.which("redis-server")
        self._program = Path(here) if here else programs(fetch("redis-server"), "usr/bin") / "redis-server"
        self._certificate = certificate
        super().__init__(folder)

    @property
    def url(self) -> str:
        """Where clients connect; they must trust the authority."""
        return f"rediss://:{self._password}@localhost:{self.port}/0?ssl_ca_certs={self._certificate.authority}"

    def _command(self) -> list[str | Path]:
        _, conf = super()._command()
        certificate = ["--tls-cert-file", str(self._certificate.chain), "--tls-key-file", str(self._certificate.key)]
        ports = ["--port", "0", "--tls-port", str(self.port)]
        return [self._program, conf, *ports, "--tls-auth-clients", "no", *certificate]


class TlsPostgres(EmbeddedPostgres):
    """Debian's PostgreSQL, which has TLS built in, unlike the wheel's. It takes nobody without."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        fetched = None if POSTGRES_HERE.exists() else fetch("postgresql-15")
        self._folder_of_programs = programs(fetched, "usr/lib/postgresql/15/bin") if fetched else POSTGRES_HERE
        folder.mkdir()
        key = folder / "postgres.key"
        shutil.copyfile(certificate.key, key)
        key.chmod(0o600)
        conf = {"ssl": "on", "ssl_cert_file": str(certificate.chain), "ssl_key_file": str(key)}
        super().__init__(folder, conf=conf)
        self._hand_over(key)

    def _programs(self) -> Path:
        return self._folder_of_programs

    def _initialise(self, initdb: Path, data: Path) -> None:
        super()._initialise(initdb, data)
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")


@contextmanager
def behind_tls(url: str, certificate: Certificate) -> Iterator[str]:
    """The URL of a server, with TLS before it: what a client finds where a proxy speaks TLS for a server."""
    parts = urlsplit(url)
    assert parts.port is not None
    is_postgres = parts.scheme.startswith("postgres")
    proxy = TlsProxy(parts.port, certificate, after_request=is_postgres)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(listening),))
        thread.start()
        credentials, port = parts.netloc.rpartition("@")[0], listening.getsockname()[1]
        try:
            scheme = parts.scheme if is_postgres else "rediss"
            yield urlunsplit(parts._replace(scheme=scheme, netloc=f"{credentials}@localhost:{port}"))
        finally:
            loop.call_soon_threadsafe(proxy.ended.set)
            thread.join()
            loop.close()


class TlsProxy:
    """Speaks TLS for a server that does not."""

    def __init__(self, port: int, certificate: Certificate, *, after_request: bool) -> None:
        """`after_request`: the client begins in the clear and asks for TLS, as PostgreSQL's do."""
        self.ended = asyncio.Event()
        self._port = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.chain, certificate.key)
        self._after_request = after_request

    async def serve(self, listening: socket.socket) -> None:
        context = None if self._after_request else self._context
        server = await asyncio.start_server(self._connected, sock=listening, ssl=context)
        await self.ended.wait()
        server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if self._after_request:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                    writer.close()
                    return
                writer.write(b"S")
                await writer.start_tls(self._context)
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
            await asyncio.gather(_pass_on(reader, to_server), _pass_on(from_server, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    writer.close()
