"""PostgreSQL: which alerts there are, and who tells people of them. Any of it may be done twice without harm."""

from collections.abc import Collection

from psycopg.rows import class_row

from worker.alerting.alerts import Alert, Message
from worker.queries import query
from worker.store import Connection, postgres_errors


def touch_alert(connection: Connection, alert: Alert) -> bool:
    """Note that an alert still holds; False if it has not begun."""
    with postgres_errors():
        return connection.execute(query("touch_alert"), alert._asdict()).fetchone() is not None


def open_alert(connection: Connection, alert: Alert, held_s: float, *, told: bool = False) -> bool:
    """Begin an alert that has held for so many seconds; False if somebody else did meanwhile.

    Args:
        connection: in autocommit mode.
        alert: what holds.
        held_s: for how long already.
        told: people know of it.
    """
    with postgres_errors():
        parameters = {**alert._asdict(), "held_s": held_s, "told": told}
        return connection.execute(query("open_alert"), parameters).fetchone() is not None


def end_alerts(connection: Connection, names: Collection[str], unseen_s: float) -> dict[str, str]:
    """End those of the alerts that nobody has seen for so long; the text of each that ended now."""
    with postgres_errors():
        return dict(connection.execute(query("end_alerts"), {"names": list(names), "unseen_s": unseen_s}).fetchall())


def claim_message(connection: Connection, lease_s: float) -> Message | None:
    """Take on a message that is to be sent; if that is not confirmed, it is anybody's again after so many seconds."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Message)) as cursor:
        return cursor.execute(query("claim_alert_message"), {"lease_s": lease_s}).fetchone()


def confirm_message(connection: Connection, message: Message) -> None:
    """Note that a message was delivered."""
    with postgres_errors():
        connection.execute(query("confirm_alert_message"), {"id": message.id, "is_start": message.is_start})
