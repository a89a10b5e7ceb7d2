"""Watching real servers, telling a real receiver: once at the start, once at the end."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from tests.receiver import Receiver, receiving
from tests.support import SITE, add_specialists, settings_for, settings_with
from worker.alerting import watch, webhook
from worker.alerting.store import claim_message
from worker.alerting.watch import Watch
from worker.embedded import Servers
from worker.inspection import observe
from worker.inspection.observe import Observer
from worker.inspection.status import read_open_alerts
from worker.migrations import migrate, migrations
from worker.pipeline import run_shard
from worker.settings import Settings
from worker.store import Connection, connect_postgres


class Scene:
    """Servers, somebody to tell, and things that happen."""

    def __init__(self, settings: Settings, receiver: Receiver, resources: ExitStack) -> None:
        self.settings = settings_with(settings, ANALYTICS_ALERT_WEBHOOK=receiver.url, ANALYTICS_ALERT_LAG_SECONDS="10")
        self.receiver = receiver
        self._resources = resources

    def watch(self, **variables: str) -> Watch:
        settings = settings_with(self.settings, **variables)
        return Watch(settings, self._resources.enter_context(Observer(settings, "watch")))


class Stream(Scene):
    """With a site and a stream whose entries are of 1970."""

    def __init__(
        self, settings: Settings, receiver: Receiver, resources: ExitStack, client: redis.Redis, connection: Connection
    ) -> None:
        super().__init__(settings, receiver, resources)
        self.client = client
        self.connection = connection
        add_specialists(connection, ["anna"])

    def let_lag(self, entries: int = 1) -> None:
        for _ in range(entries):
            self.client.xadd("analytics:events", {"type": "profile_view", "specialistId": "anna"}, id="1-*")

    def catch_up(self, until: str = "SELECT 1 FROM analytics.stream_position WHERE entries_read > 0") -> None:
        run_shard(self.settings, 0, lambda: self.connection.execute(until.encode()).fetchone() is not None)


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look is enough for an alert to begin or to be over."""
    monkeypatch.setattr(watch, "PENDING_S", 0.0)
    monkeypatch.setattr(watch, "CLEAR_S", 0.0)


@pytest.fixture
def stream(
    settings: Settings, receiver: Receiver, resources: ExitStack, client: redis.Redis, connection: Connection
) -> Stream:
    return Stream(settings, receiver, resources, client, connection)


def test_one_start_and_one_end(stream: Stream, receiver: Receiver) -> None:
    """An alert is told when it begins and when it is over, and not in between."""
    watching = stream.watch()
    watching.look()
    assert receiver.tried == []
    stream.let_lag()
    for _ in range(3):
        watching.look()
    assert receiver.said("lag") == ["start"]
    [alert] = read_open_alerts(stream.connection)
    assert (alert.name, "1 unread" in alert.text) == ("lag", True)
    stream.catch_up()
    for _ in range(3):
        watching.look()
    assert receiver.said("lag") == ["start", "end"]
    assert read_open_alerts(stream.connection) == []
    assert len(receiver.tried) == 2
    assert receiver.tried[0]["path"].endswith("/geheim-token")


def test_the_end_tells_the_worst(stream: Stream, receiver: Receiver) -> None:
    """While an alert holds its worst moment is kept, and told at the end."""
    watching = stream.watch()
    stream.let_lag()
    watching.look()
    worst = stream.connection.execute("UPDATE analytics.alert SET value = 1e12, text = 'the worst' RETURNING id")
    assert worst.fetchone()
    watching.look()
    stream.catch_up()
    watching.look()
    end = receiver.taken[-1]
    assert (end["event"], end["detail"], end["value"]) == ("end", "the worst", 1e12)


def test_watches_side_by_side_tell_once(stream: Stream, receiver: Receiver) -> None:
    """However many watch at the same time, a start and an end are told once each."""
    watches = [stream.watch() for _ in range(4)]

    def look_together() -> None:
        barrier = threading.Barrier(len(watches))
        failed: list[BaseException] = []

        def look(watching: Watch) -> None:
            barrier.wait()
            try:
                for _ in range(5):
                    watching.look()
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=look, args=(watching,)) for watching in watches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []

    stream.let_lag()
    look_together()
    assert receiver.said("lag") == ["start"]
    stream.catch_up()
    look_together()
    assert receiver.said("lag") == ["start", "end"]
    assert stream.connection.execute("SELECT count(*) FROM analytics.alert").fetchone() == (1,)


def test_who_sees_it_keeps_it_open(stream: Stream, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert that one of two watches sees and the other one does not is neither over nor told again and again."""
    monkeypatch.setattr(watch, "CLEAR_S", 60.0)
    stream.let_lag()
    sharp, dull = stream.watch(), stream.watch(ANALYTICS_ALERT_LAG_SECONDS="1e12")
    for _ in range(3):
        sharp.look()
        dull.look()
        stream.connection.execute("UPDATE analytics.alert SET last_seen_at = now() - interval '1 hour'")
    assert receiver.said("lag") == ["start"]


def test_a_message_that_is_being_claimed_is_passed_over(stream: Stream, settings: Settings) -> None:
    """Who comes while another one is claiming a message neither waits for him nor claims it too."""
    stream.let_lag()
    stream.receiver.code = 503
    stream.watch().look()
    stream.connection.execute("UPDATE analytics.alert SET retry_at = now()")
    with connect_postgres(settings, "test") as other, stream.connection.transaction():
        other.execute("SET lock_timeout = '1s'")
        assert claim_message(stream.connection, 30.0)
        assert claim_message(other, 30.0) is None


def test_a_receiver_that_fails_gets_it_later(
    stream: Stream, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could not be delivered is tried again when its time has come, in order, also after the alert is over."""
    receiver.code = 503
    stream.let_lag()
    watching = stream.watch()
    for _ in range(3):
        watching.look()
    assert len(receiver.tried) == 1  # the next try is half a minute away
    stream.catch_up()
    watching.look()
    receiver.code = 200
    stream.connection.execute("UPDATE analytics.alert SET retry_at = now()")
    watching.look()
    assert receiver.said("lag") == ["start", "end"]
    said = capsys.readouterr()
    assert "503" in said.out + said.err
    assert "geheim" not in said.out + said.err


def test_a_receiver_that_hangs_is_given_up(stream: Stream, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver without an answer holds the watch for a moment only, and is not asked again at every look."""
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.1)
    receiver.answers.clear()
    stream.let_lag()
    watching = stream.watch()
    for _ in range(2):
        watching.look()
    assert len(receiver.tried) == 1
    assert receiver.taken == []


def test_a_redirect_is_not_followed(stream: Stream, receiver: Receiver) -> None:
    """The message and the token in the URL go nowhere else."""
    stream.let_lag()
    with receiving() as elsewhere:
        for code in (302, 307, 308):
            receiver.code, receiver.location = code, elsewhere.url
            stream.watch().look()
            stream.connection.execute("UPDATE analytics.alert SET retry_at = now()")
        assert len(receiver.tried) == 3
        assert elsewhere.tried == []


def test_without_a_webhook(stream: Stream, settings: Settings, resources: ExitStack) -> None:
    """Without a receiver alerts are written down all the same, and a receiver that comes later is not flooded."""
    stream.let_lag()
    assert settings.alert_webhook is None
    Watch(settings, resources.enter_context(Observer(settings, "watch"))).look()
    assert [alert.name for alert in read_open_alerts(stream.connection)] == ["lag"]
    stream.connection.execute("UPDATE analytics.alert SET retry_at = now()")
    stream.watch().look()
    assert stream.receiver.tried == []


def test_lost_entries_are_told(stream: Stream, receiver: Receiver) -> None:
    """Entries that went away unread are told with their number."""
    stream.let_lag()
    stream.catch_up()
    stream.let_lag(4)
    stream.client.xtrim("analytics:events", maxlen=1, approximate=False)
    stream.catch_up("SELECT 1 FROM analytics.continuity_event")
    stream.watch().look()
    [message] = [message for message in receiver.taken if message["alert"] == "lost_entries"]
    assert message["value"] == 3
    assert "trimmed_unread" in message["text"]


@pytest.fixture
def outage(own_servers: Servers, receiver: Receiver, resources: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(observe, "ANSWER_S", 1.0)
    settings = settings_for(own_servers.database_url, own_servers.redis_url)
    with connect_postgres(settings, "test") as connection:
        connection.execute(SITE)
        migrate(connection, migrations())
    return Scene(settings, receiver, resources)


def test_outages_are_told(outage: Scene, own_servers: Servers, receiver: Receiver) -> None:
    """Each server that is away is told of, also PostgreSQL, where alerts are kept; and that it is back."""
    watching = outage.watch()
    watching.look()
    own_servers.redis.kill()
    watching.look()
    assert receiver.said("redis_away") == ["start"]
    own_servers.postgres.kill()
    for _ in range(3):
        watching.look()
    assert receiver.said("postgresql_away") == ["start"]
    assert receiver.said("redis_away") == ["start"]
    own_servers.postgres.start()
    own_servers.redis.start()
    for _ in range(3):
        watching.look()
    assert receiver.said("redis_away") == receiver.said("postgresql_away") == ["start", "end"]
    assert len(receiver.tried) == 4


def test_an_outage_that_could_not_be_told_is_told_later(
    outage: Scene, own_servers: Servers, receiver: Receiver
) -> None:
    """If nobody could be told while PostgreSQL was away, it is told when it is back."""
    watching = outage.watch()
    own_servers.postgres.kill()
    receiver.code = 500
    watching.look()
    own_servers.postgres.start()
    receiver.code = 200
    for _ in range(2):
        watching.look()
    assert receiver.said("postgresql_away") == ["start", "end"]
