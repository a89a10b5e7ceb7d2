"""`python -m worker resume`: a person has looked at what halted a shard, and lets the entries pass."""

from worker.errors import Stop
from worker.operations.dead_letters_view import operator
from worker.settings import Settings
from worker.store import connect_postgres, resume_stream
from worker.stream import StreamReader, connect_redis

NOT_HALTED = 1


def run_resume(settings: Settings, shard: int | None) -> int:
    """Let one shard or all go on: what is in the stream by now passes, and what is bad of it is buried.

    Raises:
        Stop: there is no such shard.
    """
    if shard is not None and not 0 <= shard < settings.shards:
        raise Stop(f"there is no shard {shard}: ANALYTICS_SHARDS is {settings.shards}")
    streams = settings.stream_keys if shard is None else (settings.stream_keys[shard],)
    resumed = []
    with connect_postgres(settings, "resume") as connection, connect_redis(settings) as client:
        for stream in streams:
            newest = StreamReader(client, settings, stream).last_id()
            if resume_stream(connection, stream, "waived", newest, operator()):
                resumed.append(stream)
    for stream in resumed:
        print(f"{stream} goes on within seconds")
    if not resumed:
        print("no shard is halted")
    return 0 if resumed else NOT_HALTED
