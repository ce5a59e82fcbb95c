"""Dashboard and alerts: each query finds something on a real platform, and what it finds is what happened."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.dashboard import build
from libs.runtime.metrics import DECLARED
from tests.deploy.conftest import Watched
from tests.support.platform_waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
SHOWN: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "machete.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in SHOWN["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "2m", "$__interval": "15s", "$service": ".*"}
# No agent knocks here; what it would be counted by is declared all the same.
NOT_PROVOKED = {"machete_agent_requests_total", "machete_agent_turned_away_total"}


def filled(promql: str) -> str:
    for name, value in VARIABLES.items():
        promql = promql.replace(name, value)
    assert "$" not in promql, promql
    return promql


def queries() -> dict[str, str]:
    """Every query of every panel, by the panel's title and the query's letter."""
    return {f"{panel['title']} {each['refId']}": each["expr"] for panel in PANELS for each in panel["targets"]}


def alerts() -> dict[str, str]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def metrics_of(promql: str) -> set[str]:
    return set(re.findall(r"\b(?:machete|process)_[a-z_]+|\bup\b", re.sub(r'"[^"]*"', "", promql)))


def squares(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    at = panel["gridPos"]
    for x in range(at["x"], at["x"] + at["w"]):
        for y in range(at["y"], at["y"] + at["h"]):
            yield x, y


async def test_every_query_of_the_dashboard_finds_something(watched: Watched) -> None:
    async def look() -> bool:
        found = await asyncio.gather(*(watched.prometheus.query(filled(promql)) for promql in queries().values()))
        empty.clear()
        empty.extend(name for name, samples in zip(queries(), found, strict=True) if not samples)
        return not empty

    empty: list[str] = []
    try:
        await until(look, "every query finds something", 15)
    except AssertionError:
        pytest.fail(f"nothing is found by {empty}")


async def test_every_quantile_is_a_number_of_seconds(watched: Watched) -> None:
    for name, promql in queries().items():
        if "histogram_quantile" in promql:
            samples = await watched.prometheus.query(filled(promql))
            numbers = [float(sample["value"][1]) for sample in samples]
            assert any(0 < number < 3600 for number in numbers), f"{name}: {numbers}"


async def test_every_choice_of_the_dashboard_has_something_to_choose_from(watched: Watched) -> None:
    asked = [each for each in SHOWN["templating"]["list"] if each["type"] == "query"]
    assert [each["name"] for each in asked] == ["service"]
    for variable in asked:
        said = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        assert said is not None
        values = await watched.prometheus.label_values(said[2], said[1])
        assert values == ["gateway", "installer", "orchestrator", "status"]


async def test_every_query_can_be_asked_of_one_service(watched: Watched) -> None:
    """A choice that leaves nothing would be a filter on a label that has other values."""
    chosen = [promql for promql in queries().values() if "$service" in promql]
    assert len(chosen) > 5
    for promql in chosen:
        everything = filled(promql.replace("$service", "gateway|installer|orchestrator|status|front|docs"))
        assert await watched.prometheus.query(everything), promql


async def test_no_query_names_a_metric_that_nobody_counts(watched: Watched) -> None:
    """`or vector(0)` would hide a name that was misspelt."""
    for name, promql in {**queries(), **alerts()}.items():
        for metric in metrics_of(promql):
            assert metric in NOT_PROVOKED or await watched.prometheus.query(f"count({metric})"), f"{name}: {metric}"


async def test_no_query_filters_by_a_value_that_no_metric_has(watched: Watched) -> None:
    """But for outcomes that nothing here came to."""
    for name, promql in {**queries(), **alerts()}.items():
        for selector in re.findall(r'\w+\{(?:[^}"]|"[^"]*")*\}', re.sub(r"\[\d+[smh]\]", "", filled(promql))):
            if not re.search(r'outcome=~"retried\|fenced"', selector):
                assert await watched.prometheus.query(selector), f"{name}: {selector}"


def test_every_metric_is_on_the_dashboard() -> None:
    """One that answers no question there is not worth its place."""
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for promql in queries().values() for name in metrics_of(promql)}
    declared = {each.name for each in DECLARED}
    assert declared - shown == set()
    assert declared >= NOT_PROVOKED


async def test_alerts_are_loaded_and_their_questions_can_be_asked(watched: Watched) -> None:
    assert {rule["name"] for rule in await watched.prometheus.rules()} == set(alerts())

    async def all_asked() -> bool:
        return all(rule["health"] == "ok" for rule in await watched.prometheus.rules())

    await until(all_asked, "each rule was evaluated without an error")


@pytest.mark.parametrize(
    ("promql", "number"),
    [
        ('sum(machete_operation_seconds_count{kind="install"})', 7),
        ('sum(machete_operation_seconds_count{kind="install", outcome="failed"})', 2),
        ('sum(machete_operation_failures_total{kind="install", code="build_failed"})', 2),
        ('sum(machete_operation_seconds_count{kind="uninstall", outcome="succeeded"})', 1),
        ("sum(machete_dead_letters_total)", 1),
        ("sum(machete_websockets_open)", 1),
        ('machete_tools{state="running"}', 1),
        ('sum(machete_http_requests_total{route="/api/v1/tools/{name}", method="GET", status="404"})', 2),
        ('machete_stream_messages{stream="COMMANDS"}', 0),
        ("max(machete_commands_oldest_seconds)", 0),
        ("max(machete_queue_unacknowledged_messages)", 0),
        ("max(machete_in_hand_messages)", 0),
        ("max(machete_running_messages)", 0),
        ("max(machete_projection_lag_events)", 0),
        ("min(machete_check_ok)", 1),
        ("count(count by (service) (machete_nats_connected == 1))", 4),
        ("min(machete_queue_askers) > bool 0", 1),
        ('sum(machete_nats_publish_troubles_total{trouble="retried"}) > bool 0', 1),
        ('sum(machete_deliveries_total{repeated="yes"}) > bool 0', 1),
    ],
)
async def test_a_number_is_what_happened(watched: Watched, promql: str, number: float) -> None:
    """Once it was read, which is a moment after it happened."""

    async def right() -> bool:
        said.append(await watched.prometheus.value(promql))
        return said[-1] == number

    said: list[float | None] = []
    try:
        await until(right, "it is right", 10)
    except AssertionError:
        pytest.fail(f"{promql} is {said[-1]} and should be {number}")


async def test_prometheus_is_let_in_by_a_token_that_opens_nothing_else(watched: Watched) -> None:
    token = (watched.platform.data / "metrics.token").read_text().strip()
    shown = {"Authorization": f"Bearer {token}"}
    client = watched.platform.api.client
    assert (await client.get("/metrics", headers=shown)).status_code == 200
    for path in ("/api/v1/tools", "/api/docs", "/metrics/", "/api/v1/operations"):
        assert (await client.get(path, headers=shown)).status_code == 401, path
    (target,) = await watched.prometheus.targets()
    assert target["health"] == "up", target


def test_alerts_are_raised_when_they_should_be() -> None:
    folder = DEPLOY / "prometheus"
    for argv in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(["promtool", *argv], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tested = (folder / "alerts_test.yml").read_text()
    assert [name for name in alerts() if f'alertname="{name}"' not in tested] == []


def test_the_dashboard_is_what_its_program_writes() -> None:
    assert build() == SHOWN


def test_no_panel_lies_on_another_and_each_has_a_number_of_its_own() -> None:
    taken = Counter(square for panel in SHOWN["panels"] for square in squares(panel))
    assert [square for square, times in taken.items() if times > 1] == []
    assert max(x for x, _ in taken) < 24
    ids = [panel["id"] for panel in SHOWN["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_panel_asks_the_chosen_source_and_says_what_to_do() -> None:
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        sources = {each["datasource"]["uid"] for each in (panel, *panel["targets"])}
        assert sources == {"${datasource}"}, panel["title"]
        assert len(panel["description"]) > 40, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    assert [each["type"] for each in SHOWN["templating"]["list"]] == ["datasource", "query"]


def test_every_line_is_named_by_labels_that_its_query_keeps() -> None:
    for panel in PANELS:
        for each in panel["targets"]:
            kept = {label for group in re.findall(r"by \(([^)]*)\)", each["expr"]) for label in group.split(", ")}
            named = set(re.findall(r"{{(\w+)}}", each["legendFormat"]))
            assert named <= kept, (panel["title"], each["expr"])


def test_grafana_is_told_of_the_source_and_of_the_folder() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "machete.yml").read_text())["datasources"]
    shipped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == shipped["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "machete.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert Path(provider["options"]["path"]).name == (DEPLOY / "grafana" / "dashboards").name
