"""The state of the downloads of a system, for ``hardpose status``: rates, breakers, alerts, tools."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.printable import counted, printable, span
from api.waiting import REASONS, SOONER
from broker.errors import BrokerUnavailable
from broker.settings import Settings

if TYPE_CHECKING:
    from broker.alerts import Alert
    from broker.egress import EgressView
    from broker.parking import Waiting

UPGRADES = {"yt-dlp": "pip install -U yt-dlp", "pytubefix": "pip install -U pytubefix"}
"""Tool that no longer understands a site -> what to do. ``pytube`` has no newer release."""


@dataclass(frozen=True)
class DownloadsState:
    """What the workers share about sites; all empty where nothing was asked of a site yet."""

    egresses: "tuple[EgressView, ...]" = ()
    alerts: "tuple[Alert, ...]" = ()
    waiting: "Waiting | None" = None
    tools: tuple[tuple[str, str], ...] = ()
    """Name and version of the downloaders on this machine, in the order in which they are tried."""
    away: str = ""
    """Why the broker could not be asked."""

    @classmethod
    def of(cls, settings: Settings) -> "DownloadsState":
        """Asks the broker; one that does not answer is a part of the answer."""
        from broker.control import Control
        from broker.egress import egress_views
        from broker.parking import Parking

        tools = tuple(_tools(settings))
        try:
            control = Control.of(settings)
            views, alerts = tuple(egress_views(control)), tuple(control.alerts())
            return cls(views, alerts, Parking(control).waiting(), tools)
        except BrokerUnavailable as error:
            return cls(tools=tools, away=error.cause)

    def lines(self) -> list[str]:
        """For people: nothing where there is nothing to say."""
        if self.away:
            return [f"downloads: rates and breakers are not known. {printable(self.away)}"]
        lines = [line for view in self.egresses if (line := _egress(view))]
        if any(view.breaker == "open" for view in self.egresses):
            lines.append(f"  -> Nothing is broken: it goes on by itself when the breaker closes; {SOONER}.")
        if self.waiting and self.waiting.total:
            parts = [f"{n} {REASONS.get(name, name)}" for name, n in self.waiting.by_reason.items()]
            lines.append(f"waiting: {', '.join(parts)}; next in {span(self.waiting.next_seconds or 0)}")
        lines += [_alert(alert) for alert in self.alerts]
        if lines and self.tools:
            lines.append("tools here: " + ", ".join(f"{name} {version}" for name, version in self.tools))
        return lines

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "broker": self.away or "answers",
            "egress": [view.model_dump(mode="json") for view in self.egresses],
            "waiting": self.waiting.model_dump(mode="json") if self.waiting else None,
            "alerts": [alert.model_dump(mode="json") for alert in self.alerts],
            "tools": [{"tool": name, "version": version} for name, version in self.tools],
        }


def _tools(settings: Settings) -> list[tuple[str, str]]:
    from workers.downloads.chain import installed_tools

    return installed_tools(settings)


def _egress(view: "EgressView") -> str:
    """One egress; one that has only a breaker is news only while that is open."""
    parts = []
    if view.videos_per_hour:
        waiting = f", {view.waiting} waiting (next in {span(view.next_seconds)})" if view.waiting else ""
        asked = f"{view.granted} asked in the last hour{waiting}"
        parts.append(f"{view.videos_per_hour:g} videos/h, {asked}")
    if view.breaker == "open":
        parts.append(f"breaker open for {span(view.retry_seconds)}: {printable(view.cause)}")
    elif view.breaker == "half_open":
        parts.append(f"breaker half open, one video is tried: {printable(view.cause)}")
    return f"egress {view.identity}: {'; '.join(parts)}" if parts else ""


def _alert(alert: "Alert") -> str:
    remedy = UPGRADES.get(alert.tool, "use another tool (HARDPOSE_DOWNLOADS__TOOLS)")
    failed = f"{counted(alert.count, 'link')}, the last: {printable(alert.cause)}"
    return f"ALERT {alert.tool} {alert.version} no longer understands the site: {failed} -> {remedy}"
