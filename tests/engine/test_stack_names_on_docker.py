"""A stack whose services cannot be told apart, installed before that was refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.domain.stacks import policy
from tests.engine import test_stacks_on_docker as stacks

make = stacks.make


async def test_what_was_installed_with_names_that_are_refused_now_can_be_stopped_and_removed(
    make: Callable[..., stacks.Rig],
) -> None:
    names = ("w-2", "a.b", "a_b", f"op-{'a' * 26}")
    rig = make({"w": stacks.sleeps(scale=2)} | {name: stacks.sleeps() for name in names})
    with pytest.MonkeyPatch.context() as before:
        before.setattr(policy, "judge", lambda *_: ())
        await rig.built()
        await rig.stacks.start(rig.tool)
    with pytest.raises(Failure, match="call one of them otherwise"):
        await rig.stacks.start(rig.tool)
    seen = (await rig.containers.observe(stacks.TOOL)).services
    assert [each.state for each in seen] == ["running"] * 6
    stopped = (await rig.containers.stop(stacks.TOOL)).services
    assert [each.state for each in stopped] == ["exited"] * 6
    removed = await rig.containers.remove(stacks.TOOL, data=True)
    assert (len(removed.containers), removed.left) == (6, ())
    assert (await rig.containers.observe(stacks.TOOL)).services == ()
