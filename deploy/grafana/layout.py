"""Grafana's dashboard format, as far as ours needs it: panels in groups, placed one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """`legend` names a line by its labels, `{{action}}`."""

    promql: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """`look` is what to do when it looks bad. `unit` is one of Grafana's; `limit` is where a value turns red."""

    title: str
    look: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    limit: float | None = None
    red_below: bool = False
    stacked: bool = False

    @property
    def size(self) -> tuple[int, int]:
        return (6, 4) if self.kind == "stat" else (8, 8)


@dataclass(frozen=True)
class Group:
    """Panels that answer one question, which is its title."""

    title: str
    panels: Sequence[Panel]


def dashboard(title: str, uid: str, groups: Sequence[Group], variables: Sequence[Json]) -> Json:
    """The JSON that Grafana loads from a file."""
    return {
        "uid": uid,
        "title": title,
        "tags": ["machete"],
        "timezone": "browser",
        "editable": False,
        "graphTooltip": 1,
        "refresh": "15s",
        "schemaVersion": 38,
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(variables)},
        "annotations": {"list": []},
        "panels": [{"id": id, **panel} for id, panel in enumerate(_placed(groups), 1)],
    }


def datasource_variable() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}


def label_variable(name: str, label: str, metric: str) -> Json:
    """All values that a metric has of a label, to choose from; all of them unless somebody chooses."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _placed(groups: Sequence[Group]) -> Iterator[Json]:
    y = 0
    for group in groups:
        yield {"type": "row", "title": group.title, "collapsed": False, "panels": [], "gridPos": _at(0, y, WIDTH, 1)}
        y += 1
        x = height = 0
        for panel in group.panels:
            width, tall = panel.size
            if x + width > WIDTH or (height and tall != height):
                x, y = 0, y + height
            yield {**_body(panel), "gridPos": _at(x, y, width, tall)}
            x, height = x + width, tall
        y += height


def _at(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _body(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.look,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.promql,
                "legendFormat": query.legend or "__auto",
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> Json:
    below, above = ("red", "green") if panel.red_below else ("green", "red")
    steps: list[Json] = [{"color": "green" if panel.limit is None else below, "value": None}]
    if panel.limit is not None:
        steps.append({"color": above, "value": panel.limit})
    drawn = {"fillOpacity": 10, "showPoints": "never", "stacking": {"mode": "normal" if panel.stacked else "none"}}
    custom = {"custom": drawn} if panel.kind == "timeseries" else {}
    return {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}, **custom}


def _options(panel: Panel) -> Json:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "textMode": "auto"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
