"""What could not be counted is looked at, sent again or put aside."""

import json
from typing import Any
from zlib import crc32

import pytest
import redis

from tests.counting import TODAY, add, books, daily, drain, event
from tests.support import add_specialists, run_worker, settings_with
from worker.operations.dead_letters import Filter, Settled, list_letters, requeue
from worker.settings import Settings
from worker.store import Connection


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna"])


def letters(settings: Settings, *arguments: str) -> list[dict[str, Any]]:
    code, output, errors = run_worker(settings, "dead-letters", "list", "--json", *arguments)
    assert (code, errors) == (0, "")
    found: list[dict[str, Any]] = json.loads(output)
    return found


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    code, output, errors = run_worker(settings, "dead-letters", *arguments)
    return code, output + errors


def test_sent_again_it_counts_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Events of a profile that exists by now count when they are sent again, and once however often."""
    without_id = event("newcomer", eventId=None, occurredAt=None)
    add(client, event("newcomer"), without_id, event("newcomer", source=None), event())
    drain(settings)
    add_specialists(connection, ["newcomer"])
    assert run(settings, "requeue", "--all", "--dry-run") == (0, "3 dead letters would be sent again\n")
    assert run(settings, "requeue", "--reason", "unknown_specialist") == (0, "3 dead letters sent again\n")
    drain(settings)
    right = {("newcomer", TODAY): (3, 0), ("anna", TODAY): (1, 0)}
    assert daily(connection) == right
    assert books(connection) == (7, 4, 0, 0, 3)
    assert run(settings, "requeue", "--all") == (1, "no dead letter matches\n")
    ids = [str(letter["id"]) for letter in letters(settings, "--state", "requeued")]
    assert run(settings, "requeue", *ids) == (0, "3 dead letters sent again\n")
    drain(settings)
    assert daily(connection) == right
    assert books(connection) == (10, 4, 3, 0, 3)


def test_a_profile_that_is_still_missing(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What is still bad when it is sent again is a new dead letter, under its new entry."""
    add(client, event("nobody"))
    drain(settings)
    run(settings, "requeue", "--all")
    drain(settings)
    [again] = letters(settings)
    [before] = letters(settings, "--state", "requeued")
    assert again["fields"] == before["fields"]
    assert again["entry_id"] != before["entry_id"]


def test_the_shard_is_that_of_the_specialist(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A letter goes to the stream that its specialist has now, also if the number of shards has changed since."""
    add(client, event("newcomer"))
    drain(settings)
    add_specialists(connection, ["newcomer"])
    sharded = settings_with(settings, ANALYTICS_SHARDS="4")
    run(sharded, "requeue", "--all")
    assert [client.xlen(stream) for stream in sharded.stream_keys] == [0, 0, 1, 0]
    drain(sharded, crc32(b"newcomer") % 4)
    assert daily(connection) == {("newcomer", TODAY): (1, 0)}


def test_cut_off_it_can_be_done_again(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """If the command dies between sending and marking, doing it again counts nothing twice."""
    add(client, *(event("newcomer", eventId=None) for _ in range(3)))
    drain(settings)
    add_specialists(connection, ["newcomer"])
    with connection.transaction(force_rollback=True):
        assert list(requeue(settings, connection, client, Filter(), "test")) == [Settled(3, 1)]
    assert len(letters(settings)) == 3
    assert list(requeue(settings, connection, client, Filter(), "test")) == [Settled(3, 1)]
    drain(settings)
    assert daily(connection) == {("newcomer", TODAY): (3, 0)}
    assert books(connection) == (9, 3, 3, 0, 3)


def test_more_than_a_page(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Hundreds of letters are all sent again, each once."""
    add(client, *(event("newcomer") for _ in range(450)))
    drain(settings)
    add_specialists(connection, ["newcomer"])
    assert run(settings, "requeue", "--all") == (0, "450 dead letters sent again\n")
    drain(settings)
    assert daily(connection) == {("newcomer", TODAY): (450, 0)}
    assert books(connection) == (900, 450, 0, 0, 450)


def test_a_page_does_not_count_the_rest(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """How many letters there are is counted once for a person, and not again for each page."""
    add(client, *(event("nobody") for _ in range(5)))
    drain(settings)
    assert list_letters(connection, Filter(), 2)[0].left == 5
    assert list_letters(connection, Filter(), 2, counted=2)[0].left == 2


def test_what_was_cut_is_not_sent_again(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Of an entry that was too large only the beginning was kept, so it stays buried."""
    add(client, event(note="x" * 2_000_000), event("newcomer"))
    drain(settings)
    assert run(settings, "requeue", "--all") == (0, "1 of 2 dead letters sent again\n")
    assert client.xlen("analytics:events") == 3
    assert [letter["reason"] for letter in letters(settings)] == ["entry_too_large"]
    assert run(settings, "requeue", "--all") == (1, "0 of 1 dead letters sent again\n")


def test_filters(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Letters are chosen by reason and by the time at which they were buried."""
    add(client, event("nobody"), event(type="nonsense"), event(type="nonsense"))
    drain(settings)
    connection.execute(
        "UPDATE analytics.dead_letter SET buried_at = '2026-01-02 03:00Z' WHERE reason = 'unknown_specialist'"
    )
    assert [letter["reason"] for letter in letters(settings, "--reason", "unknown_type")] == ["unknown_type"] * 2
    assert [letter["reason"] for letter in letters(settings, "--until", "2026-01-03")] == ["unknown_specialist"]
    assert letters(settings, "--since", "2026-01-02T03:00:01", "--until", "2026-01-03") == []
    assert len(letters(settings, "--since", "2026-01-02T03:00:00")) == 3
    assert len(letters(settings, "--limit", "2")) == 2


def test_discarded_letters_are_kept(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A discarded letter is no longer listed or counted among the buried, and is still there with who did it."""
    add(client, event("nobody"), event(type="nonsense"))
    drain(settings)
    assert run(settings, "discard", "--reason", "unknown_type") == (0, "1 dead letters discarded\n")
    assert [letter["reason"] for letter in letters(settings)] == ["unknown_specialist"]
    [discarded] = letters(settings, "--state", "discarded")
    code, output = run(settings, "show", str(discarded["id"]), "--json")
    assert code == 0
    [action] = json.loads(output)["actions"]
    assert (action["action"], action["entry_id"]) == ("discarded", None)
    assert "@" in action["operator"]
    assert "unknown_type" not in run_worker(settings, "status")[1]


def test_show_tells_what_became_of_it(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """`show` has the fields, bytes and all, each action, and whether the event counts by now."""
    add(client, event("newcomer", contactType="phone", note=b"\xff\x00"))
    drain(settings)
    [letter] = letters(settings)
    shown = str(letter["id"])
    code, output = run(settings, "show", shown)
    assert code == 0
    assert all(text in output for text in ("unknown_specialist", "contactType", "phone", "b'\\xff\\x00'"))
    assert "is not in the ledger" in output
    add_specialists(connection, ["newcomer"])
    run(settings, "requeue", shown)
    drain(settings)
    output = run(settings, "show", shown)[1]
    assert "counted for newcomer" in output
    assert "requeued" in output


def test_no_terminal_obeys_what_others_wrote(settings: Settings, client: redis.Redis) -> None:
    """Control characters in names and values are shown, in the list as well."""
    add(client, event("\x1b[2Janna", type="\x1b]0;x\x07", **{"\x9b31m": "\u202eevil"}))
    drain(settings)
    output = run(settings, "list")[1] + run(settings, "show", str(letters(settings)[0]["id"]))[1]
    assert not [letter for letter in output if letter in "\x07\x1b\x9b\u202e"]
    for text in (r"\x1b[2Janna", r"\x1b]0;x\x07", r"\x9b31m", r"\u202eevil"):
        assert text in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["requeue"], "say which dead letters"),
        (["discard", "1", "--all"], "say which dead letters"),
        (["show", "7"], "there is no dead letter 7"),
    ],
)
def test_wrong_input_is_one_line(settings: Settings, arguments: list[str], said: str) -> None:
    """What cannot be done is said in one line, with exit code 2."""
    code, output = run(settings, *arguments)
    assert code == 2
    assert said in output
    assert len(output.splitlines()) == 1
