"""What grows is drawn where it belongs, as SVG that any browser reads."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.curves import Curve, drawn

SVG = "{http://www.w3.org/2000/svg}"


def test_each_curve_has_a_field_with_its_points_in_order_and_higher_where_there_is_more() -> None:
    curves = [
        Curve("idle & more", "%", [(10, 0.5), (100, 1.0), (1000, 2.0)]),
        Curve("flat", "MB", [(10, 5), (1000, 5)]),
    ]
    picture = ElementTree.fromstring(drawn("growth", "tools", curves))
    lines = picture.findall(f".//{SVG}polyline")
    assert len(lines) == 2
    points = [tuple(float(each) for each in point.split(",")) for point in lines[0].attrib["points"].split()]
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    assert len({point.split(",")[1] for point in lines[1].attrib["points"].split()}) == 1
    texts = [text.text or "" for text in picture.iter(f"{SVG}text")]
    assert {"growth", "idle & more, %", "flat, MB", "tools", "1000"} <= set(texts)


def test_nothing_at_all_is_drawn_too() -> None:
    ElementTree.fromstring(drawn("growth", "tools", [Curve("idle", "%", [(10, 0.0)])]))
