"""What on-call files say of receivers, routes, inhibition, time intervals, silences and maintenance."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tocsin.config.calendars.maintenance import Moment
from tocsin.config.yaml.document import YamlModel
from tocsin.config.yaml.durations import Duration
from tocsin.model.calendars.wallclock import parse_clock
from tocsin.notify.oncall.models import Bys, Match, Name, Ranges, Texts, Weekdays, Words, Zone, listed
from tocsin.notify.routing.mute import Then

CHANNELS = ("email", "webhook", "alertmanager", "pagerduty", "slack", "teams", "ntfy", "apprise", "schedule")
"""Keys of a receiver of which it needs at least one."""


def _clock(value: str) -> str:
    parse_clock(value)
    return value


def _url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError(f"'{value}' is no URL; write https://…")
    return value


Url = Annotated[str, AfterValidator(_url)]
File = Annotated[str, Field(min_length=1)]
"""Relative to the project directory; a trailing newline of its content is cut."""


class FirstOf(YamlModel):
    """The first of these that gives an address which may be mailed."""

    first_of: Texts = Field(
        description="Addresses, people, templates over the alert's fields, or columns of a table.",
        examples=[["{{ OwnerEmail }}", "owners.csv(ExperimentName)"]],
    )


class FallbackModel(YamlModel):
    """Who is notified instead, where a receiver comes to nobody or an address is refused."""

    receiver: str = Field(description="A receiver, a person or an address.", examples=["ml-leads"])
    digest: Literal["daily"] | None = Field(default=None, description="Collect, and send so often.", examples=["daily"])
    at: Annotated[str, AfterValidator(_clock)] | None = Field(
        default=None, description="When the digest goes out.", examples=["09:00"]
    )

    @model_validator(mode="after")
    def _both(self) -> FallbackModel:
        if self.at is not None and self.digest is None:
            raise ValueError("at: stands without digest:; write digest: daily beside it")
        return self


class WebhookModel(YamlModel):
    """Posts JSON to a URL."""

    url: Url = Field(description="Where to.", examples=["https://example.org/hook"])
    format: Literal["plain", "common-alert-schema", "alertmanager"] = Field(
        default="plain", description="Shape of the body.", examples=["common-alert-schema"]
    )
    secret_file: File | None = Field(
        default=None, description="Key of the signature X-Tocsin-Signature.", examples=["chat.secret"]
    )
    allow_private: bool = Field(
        default=False, description="Whether it may be a private or loopback address.", examples=[True]
    )


class AlertmanagerModel(YamlModel):
    """Mirrors active alerts to Alertmanagers."""

    urls: Annotated[tuple[Url, ...], BeforeValidator(listed), Field(min_length=1)] = Field(
        description="Every member of the cluster.", examples=[["http://127.0.0.1:9093"]]
    )
    allow_private: bool = Field(
        default=True, description="Whether they may be private or loopback addresses.", examples=[False]
    )


class PagerDutyModel(YamlModel):
    """Events API v2."""

    routing_key_file: File = Field(description="File of the integration key.", examples=["pd.key"])
    url: Url = Field(
        default="https://events.pagerduty.com/v2/enqueue",
        description="Where to; EU accounts have another.",
        examples=["https://events.eu.pagerduty.com/v2/enqueue"],
    )
    group: bool = Field(default=False, description="One incident a group, not one an alert.", examples=[True])


class SlackModel(YamlModel):
    """A bot's token, which can thread and edit, or an incoming webhook, which cannot."""

    token_file: File | None = Field(default=None, description="File of the bot's token.", examples=["slack.token"])
    channel: str = Field(default="", description="Channel of the token form.", examples=["#training"])
    url_file: File | None = Field(
        default=None, description="File of the incoming webhook's URL, which is a secret.", examples=["slack.url"]
    )

    @model_validator(mode="after")
    def _one(self) -> SlackModel:
        if (self.token_file is None) == (self.url_file is None):
            raise ValueError("needs token_file: with channel:, or url_file:; write one of them")
        if self.token_file is not None and not self.channel:
            raise ValueError("token_file: stands without channel:; write channel: '#training' beside it")
        return self


class TeamsModel(YamlModel):
    """A Workflows URL."""

    url_file: File = Field(description="File of the URL, which is a secret.", examples=["teams.url"])


class NtfyModel(YamlModel):
    """A topic of an ntfy server."""

    url: Url = Field(default="https://ntfy.sh", description="The server.", examples=["https://ntfy.example.org"])
    topic_file: File | None = Field(
        default=None, description="File of the topic, which is the password.", examples=["ntfy.topic"]
    )
    topic: str = Field(default="", description="The topic, where the server is yours.", examples=["training"])
    token_file: File | None = Field(default=None, description="File of an access token.", examples=["ntfy.token"])

    @model_validator(mode="after")
    def _one(self) -> NtfyModel:
        if bool(self.topic) == bool(self.topic_file):
            raise ValueError("needs topic: or topic_file:; write one of them")
        return self


class ReceiverModel(YamlModel):
    """A name under which people, chats and pagers are notified."""

    name: Name = Field(description="How routes and rules call it.", examples=["ml-leads"])
    email: FirstOf | Words | None = Field(
        default=None,
        description="Addresses, people or templates, all of them; or `first_of`.",
        examples=[["ml-leads@example.org"]],
    )
    webhook: WebhookModel | None = Field(default=None, description="JSON to a URL.", examples=[{"url": "https://…"}])
    alertmanager: AlertmanagerModel | None = Field(
        default=None, description="A mirror of active alerts.", examples=[{"urls": ["http://127.0.0.1:9093"]}]
    )
    pagerduty: PagerDutyModel | None = Field(
        default=None, description="A pager.", examples=[{"routing_key_file": "pd.key"}]
    )
    slack: SlackModel | None = Field(default=None, description="A chat.", examples=[{"url_file": "slack.url"}])
    teams: TeamsModel | None = Field(default=None, description="A chat.", examples=[{"url_file": "teams.url"}])
    ntfy: NtfyModel | None = Field(default=None, description="A phone.", examples=[{"topic_file": "ntfy.topic"}])
    apprise: Words = Field(default=(), description="Any address of apprise.", examples=["gotify://example.org/token"])
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
    def of_address(cls, name: str) -> ReceiverModel:
        """The receiver that a person or an address is without being declared as one."""
        return cls.model_construct(name=name, email=(name,))

    @model_validator(mode="after")
    def _way(self) -> ReceiverModel:
        if not any(getattr(self, channel) for channel in CHANNELS):
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
