"""The stages, in the order in which an intent passes them. Each is a function of what it is given.

    intents ──route──► Routed ──group──► Letter ──cap──► Capped ──(render)──► Delivery ──► outbox

``route`` names receivers, turns them into addresses, and holds addresses out of payloads to what may be mailed.
``group`` makes one letter a run, evaluation and address. ``cap`` bounds what one address gets. Rendering is in
render.py, the outbox in sender.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from jinja2 import TemplateError

from tocsin.model.delivery import EMAIL, Notified
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.text.causes import one_line
from tocsin.model.text.sandbox import TooMuch, words
from tocsin.notify.addresses import Allows, BadAddress, mailbox, parse_address
from tocsin.notify.channels.registry import for_each
from tocsin.notify.oncall.models import PersonModel
from tocsin.notify.routing.lookup import parse_lookup
from tocsin.notify.routing.models import ReceiverModel
from tocsin.notify.routing.oncall_file import MAIL, OWNER, PAGE, OnCallRules, page_address
from tocsin.notify.routing.tree import RuleNames
from tocsin.notify.routing.tree import route as take
from tocsin.notify.values import ALONE, Capped, CapRule, Later, NotificationDraft, Recipient, Routed

DEFAULT = "default_receiver"
ADMIN = "admin_email"
DIGEST_AT = "09:00"
"""When a fallback's digest goes out that does not say when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientResolver:
    """Whom the settings and the on-call files name."""

    oncall: OnCallRules
    default: tuple[str, ...]  # addresses of default_receiver
    admins: tuple[str, ...]
    allows: Allows  # of addresses out of payloads
    at: datetime  # who is on call is asked for this instant; UTC
    bad: frozenset[str] = frozenset()  # addresses that a mail server has refused as none lately; lower case

    def to_default(self, because: str, note: str = "") -> tuple[Recipient, ...]:
        """Everybody of the default receiver."""
        return tuple(self.written(a, DEFAULT, because, note) for a in self.default)

    def written(self, address: str, receiver: str, because: str, note: str = "") -> Recipient:
        """The recipient at an address that stands in a file."""
        person = self.oncall.person_at(address)
        return Recipient(
            address=address, receiver=receiver, because=because, note=note,
            name=person.name if person else "", zone=self.oncall.zone_of(address),
        )  # fmt: skip

    def is_personal(self, recipient: Recipient) -> bool:
        """Whether it is mailed as an owner or one of a list: not as who is on call, nor since nobody else can be."""
        receiver = self.oncall.receiver_called(recipient.receiver)
        return recipient.channel == EMAIL and receiver is not None and not receiver.schedule

    def entries(self, receiver: ReceiverModel) -> tuple[str, ...]:
        """People, addresses and templates of ``receiver``; of one with a schedule who is on call now, first."""
        if not receiver.schedule:
            return receiver.emails
        return (*self.oncall.on_call(receiver.schedule, self.at), *receiver.emails)

    def instead_of(self, name: str, address: str) -> tuple[Recipient, ...]:
        """Who is notified that mail for ``address`` of receiver ``name`` could not be delivered: never that address
        itself.
        """
        receiver = self.oncall.receiver_called(name)
        seen: set[str] = set()
        while receiver is not None and receiver.fallback and receiver.fallback.receiver not in seen:
            seen.add(receiver.fallback.receiver)
            receiver = self.oncall.receiver_called(receiver.fallback.receiver)
            found = self._fixed(receiver, address) if receiver is not None else ()
            if found:
                return found
        return tuple(r for r in self.to_default("takes its place") if r.address.lower() != address.lower())

    def later(self, name: str, reached: str) -> Later | None:
        """How a message of receiver ``name`` is collected that its fallbacks bring to receiver ``reached``."""
        receiver, seen = self.oncall.receiver_called(name), set[str]()
        found: Later | None = None
        while receiver is not None and receiver.fallback is not None and receiver.name not in seen:
            seen.add(receiver.name)
            found = found or _later(receiver)
            if receiver.fallback.receiver == reached:
                return found
            receiver = self.oncall.receiver_called(receiver.fallback.receiver)
        return None

    def _fixed(self, receiver: ReceiverModel, but: str) -> tuple[Recipient, ...]:
        """Addresses of ``receiver`` that stand in files."""
        fixed = [e for e in self.entries(receiver) if "{" not in e and parse_lookup(e) is None]
        addresses = [self.oncall.people[e].email if e in self.oncall.people else e for e in fixed]
        return tuple(self.written(a, receiver.name, "takes its place") for a in addresses if a.lower() != but.lower())


# -- route -------------------------------------------------------------------------------------------------------------


Notifications = Callable[[Intent], Sequence[Notified]]
"""Who got the firing mail of a resolved intent, and by which mail."""


def route(
    intents: Iterable[tuple[Intent, RuleInfo]], resolver: RecipientResolver, notified: Notifications
) -> list[Routed]:
    """Find who is notified of each intent: never nobody."""
    return [Routed(intent=i, info=info, recipients=_recipients(i, info, resolver, notified)) for i, info in intents]


def _recipients(
    intent: Intent, info: RuleInfo, resolver: RecipientResolver, notified: Notifications
) -> tuple[Recipient, ...]:
    if intent.kind is IntentKind.ADMIN:
        return tuple(resolver.written(a, ADMIN, "goes to admin_email") for a in resolver.admins)
    if intent.kind is IntentKind.RESOLVED and (got := notified(intent)):
        return tuple(
            replace(
                resolver.written(t.address, t.receiver, "notified you before that it fires"),
                channel=t.channel,
                notified=t,
            )
            for t in got
        )
    names = _names(intent, info, resolver)
    found: dict[str, Recipient] = {}
    notes: list[str] = []
    for name in names:
        for recipient in resolve(name, intent, info, resolver, notes):
            found.setdefault(recipient.address.lower(), recipient)
    if not found:
        because = "names nobody else who can be notified"
        found = {r.address.lower(): r for r in resolver.to_default(because, " ".join(notes))}
    before = {t.address.lower(): t for t in notified(intent)} if intent.kind is IntentKind.REPEATED else {}
    return tuple(replace(r, notified=before.get(address)) for address, r in found.items())


def _names(intent: Intent, info: RuleInfo, resolver: RecipientResolver) -> list[str]:
    """Receivers of an alert, in the order of notifying; a backfill's summary is about what is over, so it leaves out the
    owner, schedules and escalations.
    """
    taken = take(
        resolver.oncall.root,
        resolver.oncall.always,
        matched_by(intent),
        RuleNames(to=info.notify_to, only=info.notify_only),
    )
    summary = intent.kind is IntentKind.SUMMARY
    if summary:
        taken = tuple(each for each in taken if each.receiver and not _on_call(each.receiver, resolver))
    names = dict.fromkeys(name for each in taken for name in resolver.oncall.reached(each, resolver.at))
    return [n for n in names if n != DEFAULT and not (summary and _is_owner(n, resolver))]


def matched_by(intent: Intent) -> dict[str, str]:
    """What an alert can be matched and grouped by: `rule`, `severity`, its `by`, `fields` and `labels`, as texts."""
    carried = {**intent.fields, **intent.instance, **intent.labels}
    texts = {name: _text(value) for name, value in carried.items()}
    return {**texts, "rule": intent.rule, "severity": intent.severity.word}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _on_call(name: str, resolver: RecipientResolver) -> bool:
    receiver = resolver.oncall.receiver_called(name)
    return receiver is not None and bool(receiver.schedule)


def _is_owner(name: str, resolver: RecipientResolver) -> bool:
    receiver = resolver.oncall.receiver_called(name)
    return name == OWNER or (
        receiver is not None and any("{" in e or parse_lookup(e) is not None for e in receiver.emails)
    )


def resolve(
    name: str, intent: Intent, info: RuleInfo, resolver: RecipientResolver, notes: list[str]
) -> Sequence[Recipient]:
    """Addresses of the receiver called ``name``, or of its fallback. What kept others from being notified goes to
    ``notes``.
    """
    if name == DEFAULT:
        return resolver.to_default("names nobody else who can be notified", " ".join(notes))
    note, seen, first = "", set[str](), name
    later: Later | None = None
    while name and name not in seen:
        seen.add(name)
        receiver = resolver.oncall.receiver_called(name)
        if receiver is None:
            notes.append(f"The rule names a receiver '{name}', which does not exist.")
            return ()
        whom = "the run’s owner" if first == OWNER else first
        because = f"would notify {whom}" if note else f"notifies {whom}"
        refused: list[str] = []
        found = _addresses(receiver, intent, info, resolver, refused, because)
        note = " ".join([note, *refused]).strip()
        if found:
            return [replace(r, note=r.note or note, later=later if r.channel == EMAIL else None) for r in found]
        later = later or _later(receiver)
        name = receiver.fallback.receiver if receiver.fallback is not None else ""
    if note:
        notes.append(note)
    return ()


def _later(receiver: ReceiverModel) -> Later | None:
    fallback = receiver.fallback
    if fallback is None or fallback.digest is None:
        return None
    return Later(of=receiver.name, at=fallback.at or DIGEST_AT)


def _addresses(
    receiver: ReceiverModel,
    intent: Intent,
    info: RuleInfo,
    resolver: RecipientResolver,
    refused: list[str],
    because: str,
) -> list[Recipient]:
    found = [
        Recipient(channel=key, address=f"{key}:{receiver.name}", receiver=receiver.name, because=because)
        for key in receiver.channels
        if not (for_each(key) and intent.kind in (IntentKind.SUMMARY, IntentKind.ADMIN))
    ]
    entries = (_of_entry(e, receiver, intent, info, resolver, refused, because) for e in resolver.entries(receiver))
    if not receiver.takes_first:
        return [*found, *chain.from_iterable(entries)]
    passed: list[Recipient] = []
    for some in entries:
        if some and not all(r.channel == EMAIL and r.address.lower() in resolver.bad for r in some):
            refused += [f"The mail server refused '{r.address}' of {receiver.name}." for r in passed]
            return [*found, *some]
        passed += some
    return [*found, *passed[:1]]  # no better one: what comes of it is said to the fallback


def _of_entry(
    entry: str,
    receiver: ReceiverModel,
    intent: Intent,
    info: RuleInfo,
    resolver: RecipientResolver,
    refused: list[str],
    because: str,
) -> list[Recipient]:
    if (person := resolver.oncall.people.get(entry)) is not None:
        return _of_person(person, receiver, intent, resolver, because)
    if (lookup := parse_lookup(entry)) is not None:
        text = resolver.oncall.tables.find(lookup, fields_of(intent).get(lookup.column))
        return _written(text, receiver, resolver, refused, because) if text else []
    if "{" in entry:
        return _from_payload(entry, receiver, intent, resolver, refused, because)
    return _written(entry, receiver, resolver, refused, because)


def _of_person(
    person: PersonModel, receiver: ReceiverModel, intent: Intent, resolver: RecipientResolver, because: str
) -> list[Recipient]:
    """The ways to a person: the person's own for this severity, and those of whoever notifies who is on call."""
    ways = [*person.ways(intent.severity)]
    if receiver.schedule:
        ways += receiver.how
    elif intent.kind is IntentKind.ESCALATED:
        ways += resolver.oncall.ways_on_call(person.name, resolver.at)
    found: list[Recipient] = []
    for way in dict.fromkeys(ways):
        if way == MAIL:
            found.append(resolver.written(person.email, receiver.name, because))
        elif person.page:
            zone = resolver.oncall.zone_of(person.email)
            found.append(
                Recipient(
                    channel=PAGE, address=page_address(person.name), receiver=person.name, because=because,
                    name=person.name, zone=zone,
                )
            )  # fmt: skip
    return found


def _written(
    text: str, receiver: ReceiverModel, resolver: RecipientResolver, refused: list[str], because: str
) -> list[Recipient]:
    """An address out of a file."""
    try:
        return [resolver.written(parse_address(text), receiver.name, because)]
    except BadAddress as e:
        refused.append(f"The address '{one_line(text, 80)}' of {receiver.name} {e}.")
        return []


def _from_payload(
    source: str,
    receiver: ReceiverModel,
    intent: Intent,
    resolver: RecipientResolver,
    refused: list[str],
    because: str,
) -> list[Recipient]:
    """An address out of the event: it must be exactly one, and allowed."""
    try:
        text = words().render(source, fields_of(intent)).strip()
    except (TemplateError, TooMuch, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as e:
        refused.append(f"The address of {receiver.name} could not be made: {one_line(str(e), 120)}.")
        return []
    if not text:
        return []
    quoted = f"'{one_line(text, 80)}'"
    whose = "The run's owner is given as" if receiver.name == OWNER else f"{receiver.name} comes to"
    try:
        address = parse_address(text)
    except BadAddress as e:
        refused.append(f"{whose} {quoted}, which {e}.")
        return []
    if not resolver.allows(address):
        refused.append(f"{whose} {quoted}, whom smtp.allowed_recipients does not allow to be mailed.")
        return []
    return [resolver.written(address, receiver.name, because)]


def fields_of(intent: Intent) -> Mapping[str, object]:
    """Fields by which an alert can be addressed: the event's columns, then `by`, `keep` and `labels`."""
    return {
        "Tags": {}, "Properties": {}, **intent.labels, **intent.fields, **intent.instance, **intent.event,
    }  # fmt: skip


# -- group -------------------------------------------------------------------------------------------------------------


def group(routed: Iterable[Routed]) -> list[NotificationDraft]:
    """One letter a run, evaluation and address: the severest rule's, naming the others; the rest one each."""
    drafts: dict[tuple[object, ...], NotificationDraft] = {}
    for item in routed:
        intent = item.intent
        alone = intent.kind in ALONE or not intent.run_id
        what = (intent.id,) if alone else (intent.run_id, intent.at, intent.commit_seq)
        for recipient in item.recipients:
            key = (recipient.address.lower(), *((intent.id,) if for_each(recipient.channel) else what))
            known = drafts.get(key)
            notified = (*(known.notified if known else ()), (intent, item.info))
            notified = tuple(
                sorted(notified, key=lambda t: (t[0].limited, t[0].severity))
            )  # stable: of equals the first stays first
            severest = recipient if known is None or notified[0][0] is intent else known.recipient
            if known is not None and None in (recipient.later, known.recipient.later):
                severest = replace(severest, later=None)  # one way to it is not by a fallback that collects
            drafts[key] = NotificationDraft(recipient=severest, notified=notified)
    return list(drafts.values())


# -- cap ---------------------------------------------------------------------------------------------------------------


def cap(
    drafts: Sequence[NotificationDraft],
    rule: CapRule | None,
    sent: Mapping[str, int],
    holding: Mapping[str, datetime],
    window_end: Callable[[str], datetime],
) -> Capped:
    """Let through what each address may still get.

    ``sent`` counts what its mailbox got within the window up to now; ``holding`` says until when a mailbox is held
    already, and ``window_end`` until when one that is full now shall be. While a mailbox is held, all its letters are,
    so that none overtakes.
    """
    if rule is None:
        return Capped(through=tuple(drafts), held=())
    through: list[NotificationDraft] = []
    held: list[tuple[NotificationDraft, datetime]] = []
    counts, until = dict(sent), dict(holding)
    for draft in drafts:
        address = mailbox(draft.recipient.address)
        if address not in until and counts.get(address, 0) >= rule.mails:
            until[address] = window_end(address)
        if address in until:
            held.append((draft, until[address]))
        else:
            counts[address] = counts.get(address, 0) + 1
            through.append(draft)
    return Capped(through=tuple(through), held=tuple(held))
