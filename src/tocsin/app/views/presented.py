"""What inline tests may expect of a notification besides that there is one: its subject, and whom it goes to."""

from __future__ import annotations

from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.text.causes import cause_of, one_line
from tocsin.model.text.sandbox import strict_words
from tocsin.notify.render.mail import RECOVERED
from tocsin.notify.render.templates import FILTERS
from tocsin.notify.render.views import title
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.routing.pipeline import matched_by
from tocsin.notify.routing.tree import RuleNames, route
from tocsin.rules.testing.run import Presented, Presents


def presents(oncall: OnCallRules) -> Presents:
    """Subjects by the rule's summary, receivers by ``oncall``: names of receivers, addresses, escalations."""
    words = strict_words(FILTERS)

    def present(intent: Intent, info: RuleInfo) -> Presented:
        subject, _ = title(intent, info, words, cause_of(intent.event))
        ended = f"{RECOVERED}: " if intent.kind is IntentKind.RESOLVED else ""
        names = RuleNames(to=info.notify_to, only=info.notify_only)
        taken = route(oncall.root, oncall.always, matched_by(intent), names)
        return Presented(subject=one_line(ended + subject), receivers=tuple(dict.fromkeys(each.name for each in taken)))

    return present
