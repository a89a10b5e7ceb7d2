"""Tells people when something is wrong: once when it begins, and once when it is over.

Any number of processes may watch. What they agree on is in `analytics.alert`: an alert begins once, is over when none
of them has seen it for a while, and each message is taken on by one of them. While PostgreSQL is away they cannot
agree: then each says so by itself.
"""

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NoReturn

from worker.alerting import store as alert_store
from worker.alerting.alerts import (
    CLEAR_S,
    PENDING_S,
    Alert,
    Judgement,
    Message,
    Patience,
    Readings,
    Tally,
    judge,
    payload,
)
from worker.alerting.webhook import post
from worker.errors import AnalyticsError, Retry
from worker.inspection.observe import Observer
from worker.log import get_logger
from worker.settings import Settings
from worker.store import Connection

LOOK_S = 10.0
LEASE_S = 30.0
"""Seconds after which a message is tried again, by anybody: well above what a delivery takes."""

log = get_logger(__name__)


@dataclass
class Alone:
    """An alert that PostgreSQL does not know of, because it is away."""

    alert: Alert
    since: float
    told: bool


class Watch:
    """Looks, judges, writes down, tells."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._readings = Readings()
        self._patience = Patience(PENDING_S)
        self._open: set[str] = set()  # what PostgreSQL has, or had when it was there
        self._alone: dict[str, Alone] = {}

    def run(self) -> NoReturn:
        """Look every few seconds, for ever: what a look cannot do, the next one does."""
        while True:
            try:
                self.look()
            except AnalyticsError as error:
                log.warning("alerts have to wait", why=str(error))
            except Exception:  # whoever watches must not die of what he sees
                log.exception("the watch failed")
            time.sleep(LOOK_S)

    def look(self) -> None:
        """Look once.

        Raises:
            Retry: PostgreSQL went away in the middle.
        """
        seen, now = self._observer.look(), time.monotonic()
        last_hour = self._readings.add(now, seen.records.books) if seen.records else Tally(0, 0)
        judged = judge(seen, last_hour, self._settings)
        ripe = self._patience.ripe(judged, now)
        if seen.records is None:
            self._tell_alone(judged, ripe, now)
            return
        self._open = {alert.name for alert in seen.records.alerts}
        self._observer.postgres.ask(partial(self._write_down, judged=judged, ripe=ripe, now=now))
        self._alone.clear()
        self._tell()

    def _write_down(self, connection: Connection, judged: Judgement, ripe: dict[str, float], now: float) -> None:
        for alone in self._alone.values():
            if not alert_store.touch_alert(connection, alone.alert):
                alert_store.open_alert(connection, alone.alert, now - alone.since, told=alone.told)
            self._open.add(alone.alert.name)
        for name, alert in judged.items():
            if alert is None or alert_store.touch_alert(connection, alert) or name not in ripe:
                continue
            if alert_store.open_alert(connection, alert, now - ripe[name]):
                log.error("alert", alert=name, text=alert.text)
            self._open.add(name)
        clear = [name for name, alert in judged.items() if alert is None and name in self._open]
        for name, text in (alert_store.end_alerts(connection, clear, CLEAR_S) if clear else {}).items():
            log.info("alert is over", alert=name, at_its_worst=text)
            self._open.discard(name)

    def _tell(self) -> None:
        """Send what nobody has sent yet."""
        postgres = self._observer.postgres
        while message := postgres.ask(partial(alert_store.claim_message, lease_s=LEASE_S)):
            if not self._deliver(message):
                return
            postgres.ask(partial(alert_store.confirm_message, message=message))

    def _tell_alone(self, judged: Judgement, ripe: dict[str, float], now: float) -> None:
        for name, since in ripe.items():
            alert = judged[name]
            if alert is None:
                continue
            alone = self._alone.get(name)
            if alone is None:
                alone = self._alone[name] = Alone(alert, since, told=name in self._open)
                if not alone.told:
                    log.error("alert", alert=name, text=alert.text)
            if not alone.told:
                started_at = datetime.now(UTC) - timedelta(seconds=now - since)
                alone.told = self._deliver(Message(None, name, True, started_at, None, *alert[1:]))

    def _deliver(self, message: Message) -> bool:
        if self._settings.alert_webhook is None:
            return True
        try:
            post(self._settings.alert_webhook.get_secret_value(), payload(message))
        except Retry as error:
            log.warning("an alert could not be told", alert=message.name, why=str(error))
            return False
        return True


def start_watch(settings: Settings) -> None:
    """Watch in a thread of its own, with connections of its own, for as long as the process lives."""
    watch = Watch(settings, Observer(settings, "watch"))
    threading.Thread(target=watch.run, name="watch", daemon=True).start()
