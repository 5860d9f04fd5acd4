"""Charts: each drawn as SVG here, and drawn anew by the browser to answer the pointer.

Colours of text and lines are the page's (its style sheet), so that a drawing follows the
reader's light or dark; those of data are legible on either.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from .parts import Chart

__all__ = ["Dot", "Point", "Span", "curves", "dots", "heat", "paths", "spans"]

# Between light and dark, and apart for most of the colour-blind; then they repeat.
_COLORS = [
    "#2f7fd6",
    "#e0701a",
    "#1f9e77",
    "#c455b0",
    "#b58900",
    "#d94a5b",
    "#5f8f2f",
    "#7d7f8a",
]
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
_HEIGHT = 260
_WIDTH = 480  # of all of a chart where no browser knows better
# Labels of axes, in Vega's words: millions as 2M, and no digits of float noise.
_SHORT = (
    "abs(datum.value) < 1e5 ? datum.label : "
    "format(datum.value, abs(datum.value) < 1e15 ? '.3~s' : '.0e')"
)
_ROW = 22  # of what stands in a list, pixels


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of a curve.

    Args:
        series: Whose colour and place in the legend it has.
        x: From left to right.
        y: Upwards; not finite: a gap.
        low: Lower end of a band.
        high: Upper end of it.
        line: Tells lines of one series apart.
        style: Tells kinds of lines apart, by dashes.
    """

    series: str
    x: float
    y: float
    low: Optional[float] = None
    high: Optional[float] = None
    line: str = ""
    style: str = ""


@dataclasses.dataclass(frozen=True)
class Dot:
    """A dot in a list: of what, whose, and where."""

    name: str
    series: str
    x: Optional[float]


@dataclasses.dataclass(frozen=True)
class Span:
    """Five quantiles in a list: least, 5 %, median, 95 %, greatest."""

    name: str
    quantiles: Sequence[float]


def curves(
    title: str,
    points: Iterable[Point],
    x: str,
    y: str,
    caption: str = "",
    *,
    from_zero: bool = False,
    order: Sequence[str] = (),
) -> Chart:
    """Draws curves over a number; the legend hides and shows series.

    Args:
        title: Of the chart.
        points: Of all curves.
        x: Title of the axis.
        y: Likewise.
        caption: What a reader must know.
        from_zero: Whether zero is always in sight.
        order: Series whose colours are the same in every chart; others follow.
    """
    import altair as alt

    kept = [each for each in points if math.isfinite(each.y)]
    if not kept:
        return _empty(title)
    rows = [
        {k: v for k, v in dataclasses.asdict(each).items() if v != "" and _known(v)}
        for each in kept
    ]
    present = list(dict.fromkeys(each.series for each in kept))
    order = list(dict.fromkeys([*order, *present]))
    series = [each for each in order if each in present]
    styles = list(dict.fromkeys(each.style for each in kept))
    shown = _chosen(series)
    encoded = (
        alt.Chart(alt.Data(values=rows))
        .transform_filter(shown)
        .encode(
            x=alt.X(
                "x:Q",
                title=x,
                axis=alt.Axis(format="~s", tickMinStep=_least_step(kept)),
                scale=alt.Scale(zero=False),
            ),
            color=_color(series, order),
            detail="line:N",
        )
    )
    dash: dict[str, Any] = {}
    if len(styles) > 1:
        patterns = [[1, 0], [5, 3], [2, 2], [8, 3, 2, 3]][: len(styles)]
        scale = alt.Scale(domain=styles, range=patterns)
        legend = alt.Legend(
            title=None, symbolStrokeColor="#8a8f98", symbolType="stroke"
        )
        dash = {"strokeDash": alt.StrokeDash("style:N", scale=scale, legend=legend)}
    layers = []
    if any(each.low is not None for each in kept):
        band = encoded.mark_area(opacity=0.16)
        low = alt.Y("low:Q", title=y, axis=alt.Axis(labelExpr=_SHORT))
        layers.append(band.encode(y=low, y2="high:Q"))
    scale, axis = alt.Scale(zero=from_zero), alt.Axis(labelExpr=_SHORT)
    height = alt.Y("y:Q", title=y, scale=scale, axis=axis)
    layers.append(encoded.mark_line(strokeWidth=2).encode(y=height, **dash))
    told = [_tip("series", ""), _tip("x", x), _tip("y", y)]
    for name, words in (("low", "from"), ("high", "to")):
        if any(getattr(each, name) is not None for each in kept):
            told.append(_tip(name, words))
    for name in ("style", "line"):
        if any(getattr(each, name) for each in kept):
            told.append(alt.Tooltip(f"{name}:N", title=" "))
    marks = encoded.mark_point(filled=True, size=34, opacity=1)
    layers.append(marks.encode(y=height, shape=_shape(series, order), tooltip=told))
    return _drawn(title, alt.layer(*layers).add_params(shown), caption, _HEIGHT)


def dots(
    title: str,
    entries: Iterable[Dot],
    x: str,
    caption: str = "",
    mark: Optional[float] = None,
) -> Chart:
    """Draws dots in a list, a row for each name; the legend hides and shows series.

    Args:
        title: Of the chart.
        entries: The dots; those without a finite number are left out.
        x: Title of the axis.
        caption: What a reader must know.
        mark: Where a line is drawn.
    """
    import altair as alt

    kept = [dataclasses.asdict(each) for each in entries if _known(each.x)]
    if not kept:
        return _empty(title)
    names = list(dict.fromkeys(each["name"] for each in kept))
    series = list(dict.fromkeys(each["series"] for each in kept))
    shown = _chosen(series)
    told = [_tip("name", ""), _tip("series", ""), _tip("x", x)]
    marks = (
        alt.Chart(alt.Data(values=kept))
        .transform_filter(shown)
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            x=alt.X("x:Q", title=x, axis=alt.Axis(labelExpr=_SHORT)),
            y=_listed("name", names),
            color=_color(series),
            shape=_shape(series),
            tooltip=told,
        )
    )
    layers = [marks]
    if mark is not None:
        layers.insert(0, _rule(mark))
    chart = alt.layer(*layers).add_params(shown)
    return _drawn(title, chart, caption, _ROW * len(names))


def heat(
    title: str, rows: Sequence[tuple[str, Sequence[float]]], x: str, caption: str = ""
) -> Chart:
    """Draws shares in tenths, a row for each name: darker is more.

    Args:
        title: Of the chart.
        rows: Names, each with as many shares.
        x: Title of the axis.
        caption: What a reader must know.
    """
    import altair as alt

    entries: list[dict[str, Any]] = [
        {"name": name, "from": i / len(shares), "to": (i + 1) / len(shares), "x": share}
        for name, shares in rows
        for i, share in enumerate(shares)
        if _known(share)
    ]
    if not entries:
        return _empty(title)
    highest = max(each["x"] for each in entries)
    chart = (
        alt.Chart(alt.Data(values=entries))
        .mark_rect(stroke="#8a8f98", strokeOpacity=0.35)
        .encode(
            x=alt.X("from:Q", title=x, scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y=_listed("name", [name for name, _ in rows]),
            color=alt.value(_COLORS[0]),
            fillOpacity=alt.FillOpacity(
                "x:Q",
                scale=alt.Scale(domain=[0, max(highest, 0.2)], range=[0, 1]),
                legend=None,
            ),
            tooltip=[_tip("name", ""), _tip("from", "from"), _tip("x", "share")],
        )
    )
    return _drawn(title, chart, caption, _ROW * len(rows))


def spans(title: str, entries: Sequence[Span], x: str, caption: str = "") -> Chart:
    """Draws quantiles in a list: thin from end to end, thick the middle 90 %.

    Args:
        title: Of the chart.
        entries: A row each; those with a number that is not finite are left out.
        x: Title of the axis.
        caption: What a reader must know.
    """
    import altair as alt

    names = ("least", "p5", "median", "p95", "greatest")
    entries = [each for each in entries if all(map(_known, each.quantiles))]
    if not entries:
        return _empty(title)
    rows = [
        {"name": each.name, **dict(zip(names, each.quantiles, strict=True))}
        for each in entries
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=_listed("name", [each.name for each in entries]),
        color=alt.value(_COLORS[0]),
        tooltip=[
            _tip("name", ""),
            *(_tip(n, t) for n, t in zip(names, _QUANTILES, strict=True)),
        ],
    )
    short = alt.Axis(labelExpr=_SHORT)
    axis = alt.X("least:Q", title=x, scale=alt.Scale(zero=False), axis=short)
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.5).encode(x=axis, x2="greatest:Q"),
        base.mark_bar(size=9, opacity=0.55).encode(x="p5:Q", x2="p95:Q"),
        base.mark_tick(thickness=3, size=16).encode(x="median:Q"),
    )
    return _drawn(title, chart, caption, (_ROW + 6) * len(rows))


_QUANTILES = ("least", "5 %", "median", "95 %", "greatest")


def paths(
    title: str,
    found: Sequence[Sequence[Sequence[float]]],
    data: Sequence[Sequence[float]],
    walls: Sequence[Sequence[float]],
    goal: Sequence[float],
    caption: str = "",
) -> Chart:
    """Draws paths in a maze of unit squares.

    Args:
        title: Of the chart.
        found: For each path its points (x, y), in time order.
        data: Real points.
        walls: Centres of the squares that are wall.
        goal: A point.
        caption: What a reader must know.
    """
    import altair as alt

    def axis(channel: Any, name: str, index: int) -> Any:
        ends = [wall[index] for wall in walls]
        scale = alt.Scale(domain=[min(ends) - 0.5, max(ends) + 0.5], nice=False)
        return channel(name, scale=scale, axis=None)

    def layer(rows: list[dict[str, Any]]) -> Any:
        return alt.Chart(alt.Data(values=rows))

    squares = [
        {"x": x - 0.5, "right": x + 0.5, "y": y - 0.5, "top": y + 0.5} for x, y in walls
    ]
    steps = [
        {"rollout": i, "step": step, "x": x, "y": y}
        for i, path in enumerate(found)
        for step, (x, y) in enumerate(path)
    ]
    across, up = axis(alt.X, "x:Q", 0), axis(alt.Y, "y:Q", 1)
    where = {"x": across, "y": up}
    moving = layer(steps).encode(detail="rollout:N", **where)
    told = [
        _tip("rollout", "rollout"),
        _tip("step", "step"),
        _tip("x", "x"),
        _tip("y", "y"),
    ]
    chart = alt.layer(
        layer(squares)
        .mark_rect(fill="#8a8f98", fillOpacity=0.45)
        .encode(x2="right:Q", y2="top:Q", **where),
        layer([{"x": x, "y": y} for x, y in data])
        .mark_point(filled=True, size=5, color="#8a8f98", opacity=0.5)
        .encode(**where),
        moving.mark_line(strokeWidth=1.4, color=_COLORS[1]).encode(order="step:Q"),
        moving.mark_point(filled=True, size=14, color=_COLORS[1], opacity=1).encode(
            tooltip=told
        ),
        layer([{"x": goal[0], "y": goal[1]}])
        .mark_point(
            shape="diamond", size=220, color=_COLORS[2], strokeWidth=3, opacity=1
        )
        .encode(**where),
    )
    wide = max(x for x, _ in walls) - min(x for x, _ in walls) + 1
    high = max(y for _, y in walls) - min(y for _, y in walls) + 1
    scale = min(_WIDTH / wide, 420 / high)
    return _drawn(
        title, chart, caption, round(high * scale), round(wide * scale), False
    )


def _empty(title: str) -> Chart:
    """Returns what stands for a chart of nothing: Vega draws it infinitely high."""
    return Chart(title, {}, "")


def _known(value: Any) -> bool:
    """Returns whether a value can be drawn: no JSON knows NaN."""
    return value is not None and not (
        isinstance(value, float) and not math.isfinite(value)
    )


def _least_step(points: Iterable[Point]) -> float:
    """Returns what two ticks are apart at least: there is no half step."""
    return 1.0 if all(float(each.x).is_integer() for each in points) else 0.0


def _chosen(series: Sequence[str]) -> Any:
    """Returns the choice of series that the legend makes; at first it is all of them."""
    import altair as alt

    return alt.selection_point(
        fields=["series"],
        bind="legend",
        toggle="true",
        value=[{"series": each} for each in series],
    )


def _color(series: Sequence[str], order: Sequence[str] = ()) -> Any:
    import altair as alt

    scale = _scale(series, order, _COLORS)
    return alt.Color("series:N", title=None, scale=scale, legend=_legend(series))


def _shape(series: Sequence[str], order: Sequence[str] = ()) -> Any:
    import altair as alt

    scale = _scale(series, order, _SHAPES)
    return alt.Shape("series:N", title=None, scale=scale, legend=_legend(series))


def _scale(series: Sequence[str], order: Sequence[str], looks: Sequence[str]) -> Any:
    """Returns which look each series has: by its place in the order."""
    import altair as alt

    places = list(order or series)
    found = [looks[places.index(each) % len(looks)] for each in series]
    return alt.Scale(domain=list(series), range=found)


def _legend(series: Sequence[str]) -> Any:
    import altair as alt

    # As many beside each other as there is room for: a letter takes 7 pixels or so.
    columns = _WIDTH // (7 * max(map(len, series), default=0) + 40)
    return alt.Legend(
        title=None,
        columns=max(1, columns),
        labelLimit=_WIDTH - 60,
        symbolLimit=0,
        symbolOpacity=1,
    )


def _listed(field: str, names: Sequence[str]) -> Any:
    import altair as alt

    return alt.Y(
        f"{field}:N",
        sort=list(names),
        title=None,
        axis=alt.Axis(labelLimit=170, grid=True, ticks=False, labelPadding=8),
    )


def _rule(at: float) -> Any:
    import altair as alt

    rule = alt.Chart(alt.Data(values=[{"at": at}]))
    return rule.mark_rule(color="#8a8f98", strokeDash=[4, 3]).encode(x="at:Q")


def _tip(field: str, title: str) -> Any:
    import altair as alt

    if field in ("name", "series"):
        return alt.Tooltip(f"{field}:N", title=title or " ")
    return alt.Tooltip(f"{field}:Q", title=title, format=".5~g")


def _drawn(
    title: str,
    chart: Any,
    caption: str,
    height: int,
    width: int = _WIDTH,
    grows: bool = True,
) -> Chart:
    """Returns a chart with its drawing.

    Args:
        title: Of the chart.
        chart: Altair's.
        caption: What a reader must know.
        height: Of what is drawn without axes, pixels.
        width: Of all of it.
        grows: Whether a browser may make it wider.
    """
    import altair as alt
    import vl_convert

    sized = chart.properties(
        width=width,
        height=max(height, _ROW * 2),
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    ).configure(
        background="transparent",
        font="DejaVu Sans, sans-serif",
        padding=2,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelFontSize=11, titleFontSize=12, titleFontWeight="normal"
        ),
        legend=alt.LegendConfig(orient="top", labelFontSize=12, symbolSize=90),
    )
    spec: dict[str, Any] = sized.to_dict(validate=False)  # parts were
    # Legends below each other; Altair has no word for it.
    spec["config"]["legend"]["layout"] = {
        "top": {"direction": "vertical", "anchor": "start"}
    }
    spec.setdefault("usermeta", {})["grows"] = grows
    return Chart(title, spec, vl_convert.vegalite_to_svg(spec), caption)
