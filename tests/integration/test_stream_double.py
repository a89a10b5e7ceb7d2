"""The model of a stream that the histories of continuity are played on, beside a real server."""

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as options
from hypothesis import strategies as st

from tests.stream_double import KEY, Server
from worker.continuity import BEGINNING
from worker.settings import Settings
from worker.stream import StreamReader, connect_redis

ACTS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 4), st.integers(0, 3)),
    st.tuples(st.just("delete_entry"), st.integers(0, 9)),
    st.tuples(st.just("trim"), st.integers(0, 4)),
    st.tuples(st.sampled_from(["set_last_id", "delete_key"])),
)


def do_the_same(client: redis.Redis, model: Server, name: str, *arguments: int) -> None:
    """An act of the model, on the model and on the server."""
    before = dict(model.stream.entries)
    getattr(model, name)(*arguments)
    after = model.stream
    match name:
        case "add":
            for entry_id in sorted(after.entries.keys() - before.keys()):
                client.xadd(KEY, {"x": "y"}, id=str(entry_id))
        case "delete_entry":
            for entry_id in before.keys() - after.entries.keys():
                client.xdel(KEY, str(entry_id))
        case "trim":
            client.xtrim(KEY, maxlen=arguments[0], approximate=False)
        case "set_last_id":
            if client.exists(KEY):
                client.execute_command("XSETID", KEY, str(after.last_generated))  # type: ignore[no-untyped-call]
        case "delete_key":
            client.delete(KEY)


@pytest.mark.parametrize("read_after", [0, 2])
@options(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, max_size=8))
def test_the_model_is_what_a_server_does(
    settings: Settings, client: redis.Redis, read_after: int, acts: list[tuple[str | int, ...]]
) -> None:
    """After any acts on a stream, the server says the same facts about it as the model."""
    client.delete(KEY)
    model = Server()
    with connect_redis(settings) as own:
        reader = StreamReader(own, settings, KEY)
        for name, *arguments in [("add", 3, 1), *acts]:
            do_the_same(client, model, str(name), *map(int, arguments))
            at = max(sorted(model.stream.entries)[:read_after], default=BEGINNING)
            page = reader.read(at, 100)
            seen, expected = page.facts, model.facts(at)
            assert (seen.length, seen.entries_added, seen.first) == (
                expected.length,
                expected.entries_added,
                expected.first,
            )
            assert (seen.last_generated, seen.max_deleted) == (expected.last_generated, expected.max_deleted)
            assert seen.last_read_there == expected.last_read_there
            assert page.reached_end
            assert len(page.entries) == sum(entry_id > at for entry_id in model.stream.entries)
