"""Services that run by themselves: Prometheus is let into each of them, and their numbers add up to one platform."""

from __future__ import annotations

from pathlib import Path

from tests.support.platform import SERVICES, split_platform
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_tools import web
from tests.support.platform_waiting import until
from tests.support.prometheus_server import running_prometheus


async def test_each_service_process_is_read_with_the_one_token_also_while_nats_is_away(tmp_path: Path) -> None:
    async with split_platform(tmp_path) as platform:
        targets = [platform.url(name).removeprefix("http://") for name in SERVICES]
        token = platform.data / "metrics.token"
        async with running_prometheus(tmp_path / "prometheus", targets, token) as prometheus:

            async def comes_to(promql: str, number: float) -> None:
                async def right() -> bool:
                    return await prometheus.value(promql) == number

                await until(right, f"{promql} is {number}", 20)

            repository = platform.forge.tool("web", web())
            await succeeded(platform, await platform.api.install(fresh("web"), repository, start=True))
            await comes_to('sum(up{job="machete"})', 4)
            await comes_to("count(count by (service) (machete_build_info))", 4)
            await comes_to('sum(machete_operation_seconds_count{kind="install", outcome="succeeded"})', 1)
            await comes_to("min(machete_nats_connected)", 1)
            await comes_to('machete_tools{state="running"}', 1)
            assert platform.nats is not None
            await platform.nats.kill()
            await comes_to("max(machete_nats_connected)", 0)
            # What nobody can look up is missing, and the processes themselves still answer.
            await comes_to("absent(machete_stream_messages)", 1)
            await comes_to('sum(up{job="machete"})', 4)
