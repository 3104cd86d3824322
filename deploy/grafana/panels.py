"""What the dashboards show: titles, units and queries, without Grafana's JSON."""

from __future__ import annotations

from dataclasses import dataclass

HERE = 'instance=~"$instance"'
"""Every query asks for the chosen instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A PromQL query and how its series are named."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel. ``unit`` is one of Grafana's ids: s, bytes, short, percentunit, dateTimeFromNow …"""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "lines"  # lines | bars | stat | ranking
    width: int = 12  # of 24
    instant: bool = False  # asks for now instead of a range
    zero: bool = False  # empty in health: shows 0 then
    interval: str = ""  # the least step, for bars of an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard. ``uid`` never changes: links and a second provisioning find it by that."""

    uid: str
    title: str
    description: str
    sections: tuple[Section, ...]


def selector(name: str, *matchers: str) -> str:
    """A metric of the chosen instances."""
    return f"{name}{{{', '.join((HERE, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """A counter a second."""
    return f"rate({selector(name, *matchers)}[$__rate_interval])"


def grown(name: str, *matchers: str, over: str = "$__range") -> str:
    """What a counter grew by."""
    return f"increase({selector(name, *matchers)}[{over}])"


def panel(title: str, description: str, unit: str, *queries: tuple[str, str], **more: object) -> Panel:
    """A panel of queries, each with its legend."""
    return Panel(
        title=title,
        description=description,
        unit=unit,
        queries=tuple(Query(expr=expr, legend=legend) for expr, legend in queries),
        **more,  # type: ignore[arg-type]
    )


def quantiles(title: str, description: str, metric: str, by: str = "", *matchers: str, **more: object) -> Panel:
    """Median and 95th percentile of a histogram of seconds, by label ``by`` where given."""
    names = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    queries = [
        (
            f"histogram_quantile({q}, sum by ({names}) (rate({selector(metric + '_bucket', *matchers)}[$__rate_interval])))",
            f"{legend}p{int(float(q) * 100)}",
        )
        for q in ("0.5", "0.95")
    ]
    return panel(title, description, "s", *queries, **more)
