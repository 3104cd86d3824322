"""Notifies people and programs of alerts.

In: intents, which rules wrote into the state, and the files below rules/oncall. Out: messages, sent by mail or a channel.
Called by: app, which starts `Notifier` and `Sender`; the evaluator wakes the notifier after each commit.
Never: decides whether an alert fires, or keeps anything that must survive a crash outside the state.
Start at: `notifier.Notifier._pass`, one batch of intents; `channels/base.py` for a new channel.
"""
