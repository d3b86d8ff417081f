"""Cells: W&B's server down, hanging, refusing, losing answers and talking nonsense; played by the local stand-in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.chaos.matrix import ROWS, begin, begin_delivering, cell
from tests.standin.client import Standin
from tests.support.processes import wait_until
from tests.support.world import World

NOTICED_S = 60.0


def _server(world: World) -> Standin:
    assert world.standin is not None
    return world.standin


@cell("W&B", "down at start", online=True, waits=True)
def _(world: World) -> None:
    _server(world).down()
    begin(world, until=ROWS // 2)
    _server(world).up()


@cell("W&B", "down in the middle", online=True, waits=True)
def _(world: World) -> None:
    begin_delivering(world)
    _server(world).down()
    world.wait_logged(ROWS * 3 // 4)
    _server(world).up()


@cell("W&B", "hang", online=True, waits=True)
def _(world: World) -> None:
    begin_delivering(world)
    fault = _server(world).hang("*")
    world.wait_logged(ROWS)
    wait_until(lambda: _server(world).hits(fault), NOTICED_S, "a request that hangs")
    _server(world).clear()


def _refusing(world: World, status: int) -> None:
    begin_delivering(world)
    server = _server(world)
    fault = server.fail("file_stream", status=status)
    world.wait_logged(ROWS)
    wait_until(lambda: server.hits(fault), NOTICED_S, f"a request answered {status}")
    if status in (401, 403, 404):

        def told() -> bool:
            (run,) = world.status()["runs"]
            assert run["state"] != "finished", f"the run ends as delivered, and W&B has refused it: {run}"
            return bool(run["trouble"])

        wait_until(told, NOTICED_S, lambda: f"status tells the refusal: {world.status()}")
    server.clear()


for _status in (401, 403, 404, 429, 500):
    cell("W&B", str(_status), online=True, waits=True)(partial(_refusing, status=_status))


def _some_requests(world: World, give: Callable[[Standin], int]) -> None:
    begin_delivering(world)
    fault = give(_server(world))
    wait_until(lambda: _server(world).hits(fault), NOTICED_S, "a request that the fault takes")


@cell("W&B", "lost answer", online=True, waits=True)
def _(world: World) -> None:
    _some_requests(world, lambda server: server.drop_after("file_stream", times=3))


@cell("W&B", "garbage", online=True, waits=True)
def _(world: World) -> None:
    _some_requests(world, lambda server: server.garbage("file_stream", times=2))
