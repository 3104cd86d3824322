"""notify as one object: takes intents from the state, passes them through the stages, and keeps the outbox going."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import structlog

from tocsin.clock import Clock
from tocsin.errors import QueryError, StoreError
from tocsin.metrics.registry import Metrics
from tocsin.model.crash import point
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.intent import Intent, RuleInfo
from tocsin.model.text.causes import cause_of, one_line
from tocsin.model.text.signed import Signer
from tocsin.notify.addresses import Allows
from tocsin.notify.channels.base import Notification
from tocsin.notify.channels.registry import Channels
from tocsin.notify.delivery.caps import Caps
from tocsin.notify.delivery.circuit import FIRST_PROBE, FIRST_RETRY, Backoff, Retry
from tocsin.notify.delivery.digests import Digests, is_limited
from tocsin.notify.delivery.read import Reading
from tocsin.notify.delivery.sender import Sender
from tocsin.notify.render.facts import FactsReader
from tocsin.notify.render.mail import NOTICE, MailRenderer, emergency, notice, notification_of, write
from tocsin.notify.render.templates import Templates
from tocsin.notify.render.views import Presentation, title
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.routing.pipeline import DEFAULT, RecipientResolver, group, resolve, route
from tocsin.notify.stages.bounds import Bounds, uncapped
from tocsin.notify.stages.measure import OnCallMetrics
from tocsin.notify.stages.people import RunChange
from tocsin.notify.stages.portions import Portions
from tocsin.notify.stages.register import Registering
from tocsin.notify.stages.run import Happened, Needs, Passed, Stages
from tocsin.notify.values import NO_FACTS, CapRule, Facts, NotificationDraft, Recipient, RunFacts
from tocsin.notify.waking import Waker
from tocsin.state.interface import NO_CHANGE, NotifyChange, State

log = structlog.get_logger(__name__)
T = TypeVar("T")

UTC = ZoneInfo("UTC")
BASELINE_CAP = CapRule(mails=30, window=timedelta(minutes=10))
GRACE = 5.0
"""Seconds that mails under way have to end when it stops."""
PASSED_OVER = timedelta(days=1)
"""How long `first_of` passes over an address that its mail server refused as none; then it is tried once more."""
_POLL_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyOptions:
    """What settings say."""

    sender: str = "tocsin <tocsin@localhost>"
    base_url: str = ""
    zone: ZoneInfo = UTC
    default_receiver: tuple[str, ...] = ("you@localhost",)
    admin_email: tuple[str, ...] = ("you@localhost",)
    allowed_hosts: tuple[str, ...] = ()  # to which addresses of events may lead
    allows: Allows = lambda _: False  # whether an address of an event may be mailed; a local channel mails to all
    cap: CapRule | None = BASELINE_CAP
    global_cap: CapRule | None = None
    keep_trying: timedelta = timedelta(hours=24)
    links: Signer | None = None  # signs what readers may do; None: mails have no such links
    facts_seconds: float = 0.5  # how long a mail waits for what the log store knows
    retry: Retry = FIRST_RETRY
    circuit: Backoff = FIRST_PROBE


class Notifier:
    """Notifies. The on-call files in force are asked for at each batch, so a reload takes effect with the next one."""

    def __init__(
        self,
        *,
        options: NotifyOptions,
        state: State,
        templates: Templates,
        facts: FactsReader,
        channels: Channels[OnCallRules],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        oncall = channels.oncall
        self._options, self._state, self._oncall, self._templates = options, state, oncall, templates
        self._facts, self._channels, self._metrics, self._clock = facts, channels, metrics, clock
        self._allows: Allows = (lambda _: True) if channels.mail.local else options.allows
        self._renderer = MailRenderer(
            templates=templates,
            presentation=Presentation(
                base_url=options.base_url, zone=options.zone, links=options.links, allowed_hosts=options.allowed_hosts
            ),
            sender=options.sender,
            keep_trying=options.keep_trying,
            complaints=next(iter(options.admin_email), ""),
        )  # fmt: skip
        self._caps = Caps(options.cap, options.global_cap, state, self._renderer, self._message)
        self._digests = Digests(state, self._renderer, self._message)
        self._infos: dict[str, RuleInfo] = {}
        self._presented = Reading(state, self._infos).info
        self._stages = Stages(
            Needs(
                state=state, oncall=oncall, resolver=self._resolver, registering=self._registering,
                presented=self._presented,
            )
        )  # fmt: skip
        self._portions = Portions(state)
        self._bad: frozenset[str] = frozenset()  # addresses that `first_of` passes over
        self.passed_at: datetime | None = None  # when the last pass that succeeded began; UTC
        self._measure = OnCallMetrics(metrics)
        self._bounds = Bounds(self._stages, state, self._renderer, self._presented, self._message)
        self._threads = ThreadPoolExecutor(2, "tocsin-notify")
        self._polling: asyncio.Future[Facts] | None = None
        self._poller = ThreadPoolExecutor(1, "tocsin-facts")
        self._waker = Waker()
        self._capping = asyncio.Lock()  # from counting what an address got to writing what it gets
        self._sender = self._new_sender()

    def _renew(self) -> Sender:
        """A sender of the loop that runs now."""
        self._sender.close()
        self._capping = asyncio.Lock()
        self._sender = self._new_sender()
        return self._sender

    def _new_sender(self) -> Sender:
        return Sender(
            self._channels, self._state, self._metrics, self._clock, self._not_delivered,
            retry=self._options.retry, circuit=self._options.circuit,
        )  # fmt: skip

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Notify until ``stop`` is set; what is under way then is finished first where the server answers in time."""
        sending = asyncio.create_task(self._renew().run())
        self._waker.open()
        grouping = asyncio.create_task(self._group_all(stop))
        stopping: asyncio.Task[object] = asyncio.create_task(stop.wait())
        tasks: list[asyncio.Task[object]] = [sending, grouping, stopping]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in (sending, grouping):
                if task.done():
                    task.result()  # it ends by itself only by an error that nobody foresaw
            await self._sender.finish(GRACE)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._waker.close()

    def wake(self, made: Sequence[Delivery] = ()) -> None:
        """There are new intents, or in the state new deliveries. Safe from any thread; nothing happens while it does
        not run.
        """
        self._waker.wake(lambda: self._sender.offer(list(made)))

    def news(self) -> None:
        """There are new events, which may supersede alerts. Safe from any thread, and cheap."""
        if self._stages.live.of_run:
            self._waker.wake_soon()

    async def drain(self) -> None:
        """Group all intents and send all that is due now; for tests and one-shot commands, not while ``run`` runs."""
        await self._call(self._load)
        sender = self._renew()
        while await self._pass():  # first, so that nothing is sent that has ended meanwhile
            pass
        sending = asyncio.create_task(sender.run())
        settling = asyncio.create_task(self._settle())
        try:
            await asyncio.wait({sending, settling}, return_when=asyncio.FIRST_COMPLETED)
            for task in (sending, settling):
                if task.done():
                    task.result()
        finally:
            sending.cancel()
            settling.cancel()
            await asyncio.gather(sending, settling, return_exceptions=True)

    async def _settle(self) -> None:
        while await self._pass():
            pass
        await self._sender.settled()

    def close(self) -> None:
        """Let the threads go."""
        self._sender.close()
        self._threads.shutdown(wait=False)
        self._poller.shutdown(wait=False)

    # -- grouping ----------------------------------------------------------------------------------------------------

    async def _group_all(self, stop: asyncio.Event) -> None:
        wait = 0.1
        loaded = False
        while not stop.is_set():
            self._waker.clear()
            try:
                if not loaded:
                    await self._reload()
                    loaded = True
                while await self._pass():
                    pass
                self._measure.now(self._oncall(), self._stages.silences, self._clock.now())
                wait = 0.1
            except StoreError as e:
                log.error("notify_waits_for_state", error=str(e))
                loaded = False
                await _first(stop.wait(), wait)
                wait = min(wait * 2, 30.0)
                continue
            due = self._next_due()
            patience = _POLL_SECONDS if due is None else (due - self._clock.now()).total_seconds()
            await self._waker.wait(min(max(patience, 0.01), _POLL_SECONDS))

    async def _reload(self) -> None:
        async with self._capping:
            await self._call(self._load)

    def _load(self) -> None:
        self._caps.load()
        self._digests.load()
        self._stages.load()
        self._portions.forget()
        for source in self._digests.sources():
            if source not in self._stages.live.alerts:
                self._digests.release(source, self._clock.now())
        self._measure.events(self._stages.live, loaded=True)

    def _next_due(self) -> datetime | None:
        instants = (self._caps.next_due(), self._digests.next_due(), self._stages.next_due())
        return min(filter(None, instants), default=None)

    async def _pass(self) -> bool:
        """One batch of intents, and the summaries that are due; whether there may be more."""
        now = self._clock.now()
        due = min(filter(None, (self._caps.next_due(), self._digests.next_due())), default=None)
        summed = due is not None and due <= now
        if summed:
            resolver = self._resolver()
            for made, listed in await self._call(
                lambda: [*self._caps.due(now, resolver), *self._digests.due(now, resolver)]
            ):
                await self._put(made, [], listed)
        happened = await self._call(self._happened)
        again = False
        try:
            again = await self._notify(happened)
        except StoreError:
            raise
        except Exception as e:
            log.exception("batch_not_notified", intents=len(happened.intents), kind=type(e).__name__)
            await self._reload()
            await self._notify_each(happened)
        self.passed_at = now
        return happened.more or summed or again

    async def _notify_each(self, happened: Happened) -> None:
        """One by one; one that cannot be notified as it should be goes to the default receiver in a few plain words."""
        for n, intent in enumerate(happened.intents):
            more = happened.more or n + 1 < len(happened.intents)
            try:
                await self._notify(replace(happened, intents=[intent], more=more))
            except StoreError:
                raise
            except Exception as e:
                log.exception("intent_not_notified", rule=intent.rule, kind=type(e).__name__)
                await self._reload()
                await self._put(self._plainly(intent, type(e).__name__), [intent.id])

    def _happened(self) -> Happened:
        """What a pass begins with."""
        since = self._clock.now() - PASSED_OVER
        self._bad = frozenset(address.lower() for address, _, at in self._state.bad_addresses() if at > since)
        ends = self._state.alerts_ended()
        head, changes = self._changes()
        intents, more = self._portions.next(self._oncall())
        return Happened(ends=ends, intents=intents, more=more, changes=changes, head=head)

    def _changes(self) -> tuple[int, Sequence[RunChange]]:
        """Events since the last pass that may supersede alerts; none where the log store cannot say now."""
        try:
            return self._facts.changes(self._stages.head if self._stages.live.of_run else None)
        except (StoreError, QueryError) as e:
            log.warning("news_unreadable", error=one_line(str(e), 200))
            return 0, ()

    def _plainly(self, intent: Intent, problem: str) -> list[Delivery]:
        info = RuleInfo(name=intent.rule, version=intent.rule_version, summary="")
        return [
            self._message(emergency(
                NotificationDraft(recipient=Recipient(address=a, receiver=DEFAULT, because="is notified"), notified=((intent, info),)),
                problem, self._renderer, self._clock.now(),
            ))
            for a in self._options.default_receiver
        ]  # fmt: skip

    async def _notify(self, happened: Happened) -> bool:
        """One pass of the stages; whether another has something to do at once."""
        async with self._capping:
            now = self._clock.now()
            asked = asyncio.create_task(self._known(happened.intents))  # the log store looks while the stages run
            try:
                passed = await self._call(lambda: self._stages.run(happened, now))
                drafts = await self._call(lambda: self._drafts(passed))
                new = {intent.id for intent in happened.intents}
                if again := [draft.intent for draft in drafts if draft.intent.id not in new]:  # said once more
                    asked = asyncio.create_task(self._both(asked, again))
                await self._write(happened, passed, drafts, asked)
            finally:
                asked.cancel()
            return passed.again

    def _drafts(self, passed: Passed) -> list[NotificationDraft]:
        """Messages about single alerts."""
        direct = passed.direct
        infos, notified = Reading(self._state, self._infos).of(direct)
        routed = route([(i, infos[i.id]) for i in direct], self._resolver(), lambda i: notified.get(i.id, ()))
        addressed = passed.addressed
        return [*addressed.steps, *addressed.stateful, *group([*addressed.routed, *routed])]

    async def _write(
        self, happened: Happened, passed: Passed, drafts: Sequence[NotificationDraft], asked: asyncio.Task[Facts]
    ) -> None:
        now = self._clock.now()
        resolver = self._resolver()
        waits, drafts = self._bounds.later(drafts, now)
        beyond = [draft for draft in drafts if draft.limited]
        alone, listed = await self._call(lambda: self._bounds.critical(drafts, passed, resolver, now))
        first = [one for one in alone if uncapped(one)]
        capped = await self._call(
            lambda: self._caps.cap([one for one in alone if not one.limited and not uncapped(one)], now, first)
        )
        through = [*first, *capped.through]
        made = await self._rendered(through, asked, now)
        lists = [self._bounds.listed(each, now) for each in [*passed.addressed.listed, *listed]]
        made += await self._call(lambda: self._caps.cap_made(lists, now))
        made += [mail for each in passed.handovers for mail in self._bounds.handover(each, resolver, now)]
        made += self._bounds.unanswered(passed.unanswered, resolver, now)
        made += self._caps.hold(capped.held, now) + self._digests.hold(beyond, now)
        left = await self._call(lambda: self._bounds.left(passed, resolver))
        made += self._digests.hold_suppressed([*waits, *left], now)
        for source in passed.released:
            self._digests.release(source, now)
        change = self._stages.change(happened)
        if made or happened.intents or change != NO_CHANGE:
            await self._put(made, [i.id for i in happened.intents], (), change)
        self._measure.passed(passed)
        self._measure.events(self._stages.live)

    async def _rendered(
        self, drafts: Sequence[NotificationDraft], asked: asyncio.Task[Facts], now: datetime
    ) -> list[Delivery]:
        groups = {(draft.recipient.address, draft.group) for draft in drafts}
        threads = dict(await self._call(lambda: self._state.threads(groups)))
        facts = await asked
        made: list[Delivery] = []
        for draft in drafts:
            group_key = (draft.recipient.address, draft.group)
            thread = threads.get(group_key)
            delivery = self._deliver(draft, facts.get(draft.intent.id, NO_FACTS), thread, now)
            threads.setdefault(group_key, (delivery.message_id, delivery.subject))
            made.append(delivery)
            await asyncio.sleep(0)  # workers go on sending
        return made

    def _registering(self, rules: OnCallRules) -> Registering:
        resolver = self._resolver()

        def reaches(name: str, intent: Intent, info: RuleInfo) -> bool:
            return bool(resolve(name, intent, info, resolver, []))

        def called(intent: Intent, info: RuleInfo) -> str:
            return title(intent, info, self._templates.words, cause_of(intent.event))[0]

        return Registering(rules=rules, reaches=reaches, title=called, now=self._clock.now())

    def _deliver(
        self, draft: NotificationDraft, facts: RunFacts, thread: tuple[str, str] | None, now: datetime
    ) -> Delivery:
        try:
            return self._message(notification_of(draft, facts, thread, self._renderer, now))
        except Exception as e:
            log.exception("message_not_made", rule=draft.intent.rule, kind=type(e).__name__)
            self._metrics.inc("tocsin_notify_template_errors_total")
            return self._message(emergency(draft, f"{type(e).__name__} while it was made", self._renderer, now))

    def _message(self, notification: Notification) -> Delivery:
        """The delivery with the message that its channel makes."""
        delivery, problem = write(notification, self._channels(notification.delivery.endpoint))
        if problem:
            self._metrics.inc("tocsin_notify_template_errors_total")
        return delivery

    async def _put(
        self,
        made: Sequence[Delivery],
        consumed: Sequence[str],
        listed: Sequence[str] = (),
        change: NotifyChange = NO_CHANGE,
    ) -> None:
        now = self._clock.now()
        if made:
            point("before_deliveries")
        await self._call(lambda: self._state.put_deliveries(made, consumed, now, listed, change))
        if made:
            point("after_deliveries")
        held = sum(d.state is DeliveryState.HELD and not is_limited(d) for d in made)
        if held:
            self._metrics.inc("tocsin_notify_capped_total", held)
        self._sender.offer([d for d in made if d.state is DeliveryState.READY])

    def _resolver(self) -> RecipientResolver:
        return RecipientResolver(
            oncall=self._oncall(), default=self._options.default_receiver, admins=self._options.admin_email,
            allows=self._allows, at=self._clock.now(), bad=self._bad,
        )  # fmt: skip

    async def _known(self, intents: Sequence[Intent]) -> Facts:
        """Facts, or none where they take too long or fail: a mail goes out without them rather than late."""
        if not intents or (self._polling is not None and not self._polling.done()):
            return {}
        seconds = self._options.facts_seconds
        work = asyncio.get_running_loop().run_in_executor(self._poller, self._facts.facts, list(intents), seconds)
        self._polling = work
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(work)
        except TimeoutError:
            log.warning("facts_too_slow", seconds=seconds, intents=len(intents))
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
        except Exception as e:  # noqa: BLE001 - the mail matters more than what else it could have said
            log.warning("facts_failed", error=one_line(str(e), 200), kind=type(e).__name__)
        return {}

    async def _both(self, first: asyncio.Task[Facts], intents: Sequence[Intent]) -> Facts:
        return {**await first, **await self._known(intents)}

    # -- mails that could not be delivered ----------------------------------------------------------------------------

    async def _not_delivered(self, failed: Delivery, reply: str) -> None:
        """Before ``failed`` is marked: notify its fallback, once, and never about such a notice."""
        log.error("mail_not_delivered", delivery=failed.id, receiver=failed.receiver, reply=reply)
        if failed.receiver == NOTICE:
            return
        async with self._capping:  # a pass works on the same memory
            await self._call(lambda: self._stages.delivery_failed(failed.id))
        self._waker.wake()
        now = self._clock.now()
        try:
            instead = self._resolver().instead_of(failed.receiver, failed.address)
            notices = [self._message(notice(failed, reply, r, self._renderer, now)) for r in instead]
            async with self._capping:
                capped = await self._call(lambda: self._caps.cap_made(notices, now))
                await self._put(capped, [])
        except Exception as e:
            log.exception("notice_not_written", delivery=failed.id, kind=type(e).__name__)

    def failures(self) -> list[str]:
        """Channels that cannot be reached, and why; from any thread."""
        return self._sender.failures()

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _first(work: Awaitable[object], seconds: float) -> None:
    """Wait for ``work``, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass
