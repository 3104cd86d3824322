"""The main job: an event comes in, a row lies in the store, a rule fires, one mail arrives."""

from tests.acceptance.timeline import Timeline


def test_one_mail_for_a_failed_run_none_for_its_duplicate_or_a_late_running(timeline: Timeline) -> None:
    t = timeline
    t.at("0s").post(RunId="r1", Status="Running", ExperimentName="churn", TimeGenerated="-5m")
    t.at("0.2s").post(RunId="r1", Status="Failed", EventId="e1", ExperimentName="churn", Message="CUDA out of memory")
    t.at("1s").post(RunId="r1", Status="Failed", EventId="e1", ExperimentName="churn", Message="CUDA out of memory")
    t.at("1.5s").post(RunId="r1", Status="Running", EventId="late", ExperimentName="churn", TimeGenerated="-1m")
    t.expect("0s..3s").mails("ops@example.org", 1, subject="churn failed: CUDA out of memory")
    t.expect("0s..3s").rows("RunStatusChanged | where RunId == 'r1'", 3)
    t.expect("0s..3s").rows("Runs | where RunId == 'r1' and Status == 'Failed'", 1)
    t.expect("0s..3s").rows("Alerts | where Rule == 'run-failed' and To == 'fired'", 1)
    t.expect("0s..3s").rows("Notifications | where State == 'sent'", 1)
    t.run()


def test_killed_between_an_event_and_the_next(timeline: Timeline) -> None:
    """What was accepted before a kill -9 is notified once, before it or after it; the next failure of another run
    too.
    """
    t = timeline
    t.at("0s").post(RunId="r1", Status="Failed", EventId="e1")
    t.at("0s").kill()
    t.at("0.1s").start()
    t.at("0.2s").post(RunId="r1", Status="Failed", EventId="e1")
    t.at("0.2s").post(RunId="r2", Status="Failed", EventId="e2")
    t.expect("0s..8s").mails("ops@example.org", 2)
    t.expect("0s..8s").rows("RunStatusChanged", 2)
    t.run()
