"""What on-call files say of receivers, routes, inhibition, time intervals, silences and maintenance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from tocsin.config.calendars.maintenance import Moment
from tocsin.config.yaml.document import YamlModel
from tocsin.config.yaml.durations import Duration
from tocsin.model.calendars.wallclock import parse_clock
from tocsin.notify.channels.base import Channel
from tocsin.notify.channels.registry import CHANNELS
from tocsin.notify.oncall.models import Bys, Match, Name, Ranges, Texts, Weekdays, Words, Zone
from tocsin.notify.routing.mute import Then


def _clock(value: str) -> str:
    parse_clock(value)
    return value


class FirstOf(YamlModel):
    """The first of these that gives an address which may be mailed."""

    first_of: Texts = Field(
        description="Addresses, people, templates over the alert's fields, or columns of a table.",
        examples=[["{{ OwnerEmail }}", "owners.csv(ExperimentName)"]],
    )


class FallbackModel(YamlModel):
    """Who is notified instead, where a receiver comes to nobody or an address is refused."""

    receiver: str = Field(description="A receiver, a person or an address.", examples=["ml-leads"])
    digest: Literal["daily"] | None = Field(
        default=None, description="Collect mails below critical, and send so often.", examples=["daily"]
    )
    at: Annotated[str, AfterValidator(_clock)] | None = Field(
        default=None, description="When the digest goes out, in its reader's time zone; 09:00.", examples=["08:30"]
    )

    @model_validator(mode="after")
    def _both(self) -> FallbackModel:
        if self.at is not None and self.digest is None:
            raise ValueError("at: stands without digest:; write digest: daily beside it")
        return self


class _Keys(YamlModel):
    @property
    def channels(self) -> Mapping[str, Any]:
        """Options of the channels that stand here, by key."""
        found = {key: getattr(self, key, None) for key in CHANNELS}
        return {key: options for key, options in found.items() if options is not None}


def _key(channel: type[Channel]) -> tuple[Any, Any]:
    about = (channel.Options.__doc__ if isinstance(channel.Options, type) else channel.__doc__) or channel.key
    return channel.Options | None, Field(default=None, description=about.split("\n")[0], examples=[channel.example])


# Made when this module is first imported: a program that registers a channel of its own does so before.
if TYPE_CHECKING:

    class ChannelsModel(_Keys):
        """A key for each channel."""

else:
    ChannelsModel = create_model(
        "ChannelsModel", __base__=_Keys, **{key: _key(channel) for key, channel in CHANNELS.items()}
    )


class ReceiverModel(ChannelsModel):
    """A name under which people, chats and pagers are notified."""

    name: Name = Field(description="How routes and rules call it.", examples=["ml-leads"])
    email: FirstOf | Words | None = Field(
        default=None,
        description="Addresses, people or templates, all of them; or `first_of`.",
        examples=[["ml-leads@example.org"]],
    )
    schedule: str = Field(default="", description="Whoever is on call by it.", examples=["primary"])
    how: Bys = Field(
        default=("email",), description="Ways to who is on call, besides their own.", examples=[["email", "page"]]
    )
    fallback: FallbackModel | None = Field(
        default=None, description="Who is notified where that comes to nobody.", examples=[{"receiver": "ml-leads"}]
    )

    @property
    def emails(self) -> tuple[str, ...]:
        """Addresses, people, templates and look-ups of ``email``."""
        return self.email.first_of if isinstance(self.email, FirstOf) else self.email or ()

    @property
    def takes_first(self) -> bool:
        """Whether only the first of ``emails`` that gives an address is notified."""
        return isinstance(self.email, FirstOf)

    @classmethod
    @lru_cache(4096)  # asked several times for each alert
    def of_address(cls, name: str) -> ReceiverModel:
        """The receiver that a person or an address is without being declared as one."""
        return cls.model_construct(name=name, email=(name,))

    @model_validator(mode="after")
    def _way(self) -> ReceiverModel:
        if not (self.email or self.schedule or self.channels):
            raise ValueError("has no way to notify anybody; add email: [ops@example.org]")
        if "how" in self.model_fields_set and not self.schedule:
            raise ValueError("how: stands without schedule:; people say theirs themselves")
        return self


class MuteModel(YamlModel):
    """When a route does not send."""

    during: Texts = Field(description="Time intervals.", examples=["weekends"])
    then: Then = Field(default=Then.DIGEST, description="What becomes of event alerts.", examples=["digest"])


class ActiveModel(YamlModel):
    """When a route sends."""

    during: Texts = Field(description="Time intervals.", examples=["office-hours"])
    then: Then = Field(
        default=Then.DIGEST, description="What becomes of event alerts outside of them.", examples=["drop"]
    )


class RouteModel(YamlModel):
    """A node of the tree. What it does not say it has from its parent, but for matchers and mutes."""

    match: Match = Field(
        default_factory=dict,
        description="Fields with texts, one of which they have; severities may be compared.",
        examples=[{"severity": ">= critical"}],
    )
    matchers: Words = Field(
        default=(), description="The same in Alertmanager's syntax.", examples=[['team=~"ranking|search"']]
    )
    receiver: Words = Field(default=(), description="Who is notified.", examples=["ml-leads"])
    escalation: str = Field(default="", description="Which escalation starts.", examples=["page"])
    continue_: bool = Field(
        default=False, alias="continue", description="Whether the routes after it are tried too.", examples=[True]
    )
    group_by: Words | None = Field(
        default=None,
        description="Fields that make a group; `...` is all of them, none makes each alert its own.",
        examples=[["rule", "ExperimentName"]],
    )
    group_wait: Duration | None = Field(default=None, description="Before a group's first message.", examples=["30s"])
    group_interval: Duration | None = Field(default=None, description="Between messages of a group.", examples=["5m"])
    repeat_interval: Duration | Literal["none"] | None = Field(
        default=None, description="Between repeats of a condition that still fires.", examples=["4h", "none"]
    )
    repeat_backoff: float | None = Field(
        default=None, ge=1, le=10, description="Each repeat waits so many times longer.", examples=[2]
    )
    repeat_max: Duration | None = Field(default=None, description="But no longer than this.", examples=["24h"])
    mute: MuteModel | None = Field(
        default=None, description="When it does not send.", examples=[{"during": "weekends", "then": "digest"}]
    )
    active: ActiveModel | None = Field(
        default=None, description="When it sends; always where absent.", examples=[{"during": "office-hours"}]
    )
    routes: tuple[RouteModel, ...] = Field(
        default=(), description="Its children, tried in order.", examples=[[{"match": {"team": "ranking"}}]]
    )


class RootModel(RouteModel):
    """The root takes every alert that no other route takes."""

    always: Words = Field(default=(), description="Notified in any case, whatever matches.", examples=[["owner"]])


class SideModel(YamlModel):
    """One side of an inhibition in Alertmanager's syntax."""

    matchers: Texts = Field(description="All of these.", examples=[['rule="cluster-down"']])


class InhibitModel(YamlModel):
    """While a source is active, its targets are not notified of."""

    source: SideModel | Match = Field(description="What makes others needless.", examples=[{"rule": "cluster-down"}])
    target: SideModel | Match = Field(description="What it makes needless.", examples=[{"rule": ["run-silent"]}])
    equal: Words = Field(default=(), description="Fields in which both have the same value.", examples=[["Target"]])
    hold: Duration = Field(default=timedelta(0), description="How long a target waits for a source.", examples=["2m"])
    then: Then = Field(
        default=Then.DIGEST, description="What becomes of event alerts when the source ends.", examples=["digest"]
    )


def _numbers(value: Any) -> Any:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


Numbers = Annotated[tuple[str, ...], BeforeValidator(_numbers)]


class IntervalModel(YamlModel):
    """Times: all of what is said must hold."""

    times: Annotated[Ranges | None, Field()] = Field(
        default=None,
        description="From and to; past midnight they belong to the day on which they begin.",
        examples=["22:00-07:00"],
    )
    weekdays: Weekdays = Field(default=(), description="Days of the week, or ranges.", examples=[["sat", "sun"]])
    days_of_month: Numbers = Field(
        default=(), description="Days or ranges; negative ones count from the end.", examples=[["1:5", "-3:-1"]]
    )
    months: Numbers = Field(default=(), description="Names, numbers or ranges.", examples=[["may:august"]])
    years: Numbers = Field(default=(), description="Years or ranges.", examples=[["2026:2028"]])
    days_of: Words = Field(default=(), description="Days of a calendar.", examples=["hu-holidays"])
    timezone: Zone | None = Field(default=None, description="UTC where absent.", examples=["Europe/Budapest"])


class TimeIntervalModel(IntervalModel):
    """Times with a name."""

    name: Name = Field(description="How mutes call it.", examples=["weekends"])
    any_of: tuple[IntervalModel, ...] = Field(
        default=(), description="Instead: it holds where one of these does.", examples=[[{"weekdays": ["sat"]}]]
    )


class SilenceModel(YamlModel):
    """Alerts that are not notified of for a time."""

    match: Match = Field(default_factory=dict, description="Fields with texts.", examples=[{"rule": "run-failed"}])
    matchers: Words = Field(default=(), description="In Alertmanager's syntax.", examples=[['rule="run-failed"']])
    from_: Moment = Field(alias="from", description="When it begins, with its zone.", examples=["2026-12-01T20:00Z"])
    to: Moment = Field(description="When it ends, with its zone.", examples=["2026-12-02T08:00Z"])
    by: str = Field(default="", description="Who set it.", examples=["anna"])
    comment: str = Field(description="Why.", min_length=1, examples=["known"])


class RouteTestModel(YamlModel):
    """Who must be notified of an alert."""

    at: Moment = Field(description="When it fires, with its zone.", examples=["2026-12-24T03:00Z"])
    alert: dict[str, str] = Field(
        description="Its fields.", examples=[{"rule": "run-failed", "severity": "critical", "team": "ranking"}]
    )
    notifies: Words = Field(
        description="Exactly these receivers; of a schedule or an escalation's first step the people.",
        examples=[["cruz", "chat", "owner"]],
    )
