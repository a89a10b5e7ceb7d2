"""The supervisor with real children: what dies comes back, and nothing is left behind."""
# ruff: noqa: F811 - the fixtures are imported

import signal

import psutil
import pytest

from jobs.view import jobs_and_workers
from tests.rq_fixtures import Lab, Program, alive, descendants, kill, lab, measured, redis_alone, wait_for  # noqa: F401


def part(supervisor: Program, name: str) -> int:
    """The pid of a part's latest process."""
    return int([line for line in supervisor.said("part started") if line["part"] == name][-1]["pid"])


def running(lab: Lab, *, double: str = "") -> tuple[Program, int]:
    """A supervisor whose parts are all at work, and the work horse of the rollup."""
    supervisor = lab.start("run", double=double)
    horse, _ = lab.wait_for_begin(1)
    wait_for(lambda: lab.traces("partitions"))
    wait_for(lambda: supervisor.said("scheduler started"))
    return supervisor, horse


def test_it_runs_every_part_and_stops_them_all(lab: Lab) -> None:
    """One command runs rollup, ops and scheduler; SIGTERM ends them with everything they started."""
    supervisor, _ = running(lab)
    family = descendants(supervisor.pid)
    assert {line["part"] for line in supervisor.said("part started")} == {"work rollup", "work ops", "schedule"}
    assert {worker.queue for worker in jobs_and_workers(lab.redis).workers} == {"rollup", "ops"}
    seconds = supervisor.stop()
    print(f"supervisor stopped: {seconds:.2f} s")
    assert seconds <= 4
    assert supervisor.process.returncode == 0
    assert alive(family) == []
    assert len(supervisor.said("part stopped")) == 3
    assert jobs_and_workers(lab.redis).workers == ()
    assert lab.redis.lrange("rq:queue:rollup", 0, -1) == [b"rollup-0"]


def test_a_dead_part_comes_back(lab: Lab) -> None:
    """Every part that is killed is started again, and the rollup goes on."""
    supervisor, _ = running(lab)
    for name in ("work rollup", "work ops", "schedule"):
        before = part(supervisor, name)
        kill(before)
        with measured(f"restart of {name}"):
            wait_for(lambda: part(supervisor, name) != before)  # noqa: B023 - waited for here
    deaths = supervisor.said("part died")
    assert [line["signal"] for line in deaths] == ["SIGKILL"] * 3
    assert {line["restart_in_ms"] for line in deaths} == {100}
    slices = len(lab.traces("begin"))
    wait_for(lambda: len(lab.traces("end")) >= 1)
    lab.wait_for_begin(slices)


def test_a_worker_killed_with_its_horse_is_made_good(lab: Lab) -> None:
    """Worker and work horse killed together: the restarted worker runs the rollup again within seconds."""
    supervisor, horse = running(lab)
    kill(part(supervisor, "work rollup"), horse)
    with measured("rollup again after the kill of worker and horse"):
        lab.wait_for_begin(2, seconds=10)
    assert lab.held("rollup-0") == 1


def test_nobody_outlives_a_killed_supervisor(lab: Lab) -> None:
    """When the supervisor is killed and can stop nobody, every process ends by itself."""
    supervisor, horse = running(lab)
    family = descendants(supervisor.pid)
    assert psutil.Process(horse) in family
    kill(supervisor.pid)
    with measured("end of all after the kill of the supervisor"):
        wait_for(lambda: not alive(family))
    assert supervisor.said("supervisor gone")
    assert lab.redis.lrange("rq:queue:rollup", 0, -1) == [b"rollup-0"]


def test_who_does_not_stop_is_killed(lab: Lab) -> None:
    """A job that never asks whether to stop is killed with its worker when the time is up."""
    lab.redis.set("fake:mode", "deaf")
    supervisor, horse = running(lab, double="short patience")
    family = descendants(supervisor.pid)
    assert psutil.Process(horse) in family
    supervisor.stop()
    assert supervisor.process.returncode == 1
    assert alive(family) == []


def test_a_deaf_horse_without_its_worker_is_not_forgotten(lab: Lab) -> None:
    """A work horse that lost its worker and does not notice is still killed when the supervisor stops."""
    lab.redis.set("fake:mode", "deaf")
    supervisor, horse = running(lab, double="short patience")
    orphan = psutil.Process(horse)
    kill(part(supervisor, "work rollup"))
    wait_for(lambda: supervisor.said("part died"))
    assert alive([orphan])
    supervisor.stop()
    assert alive([orphan]) == []


def test_a_killed_supervisor_leaves_no_deaf_horse(lab: Lab) -> None:
    """Who does not stop is killed by its own worker when there is no supervisor any more."""
    lab.redis.set("fake:mode", "deaf")
    supervisor, _ = running(lab, double="short patience")
    family = descendants(supervisor.pid)
    kill(supervisor.pid)
    with measured("end of all, with a deaf horse"):
        wait_for(lambda: not alive(family))


@pytest.mark.parametrize(("command", "event"), [("broken", "part died"), ("missing", "part cannot start")])
def test_a_part_that_does_not_start_is_tried_less_and_less(lab: Lab, command: str, event: str) -> None:
    """A part that dies young, or cannot be started at all, is started again after 0.1, 0.2, 0.4 … seconds."""
    supervisor = lab.start("run", command)

    def waits() -> list[int]:
        return [line["restart_in_ms"] for line in supervisor.said(event) if line["part"] == "schedule"]

    wait_for(lambda: len(waits()) >= 4)
    assert waits()[:4] == [100, 200, 400, 800]
    assert supervisor.stop() <= 2
    assert supervisor.process.returncode == 0


def test_ctrl_c_is_a_stop(lab: Lab) -> None:
    """SIGINT ends everything just as SIGTERM does."""
    supervisor, _ = running(lab)
    family = descendants(supervisor.pid)
    supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.process.wait(10) == 0
    assert alive(family) == []
