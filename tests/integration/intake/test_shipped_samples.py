"""Public payloads of other systems, which nobody here wrote, through the consumers that ship."""

import io
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.integration.intake.behind import ROOT, Ask, Behind, asker, sample
from tocsin.intake.connectors.http import HttpIntake
from tocsin.intake.consumer import load_consumers


def body(name: str) -> bytes:
    """The sample as JSON; objects of Kubernetes are published as YAML."""
    content = sample(name)
    if not name.endswith(".yaml"):
        return content
    return json.dumps(YAML(typ="safe").load(io.BytesIO(content)), default=datetime.isoformat).encode()


ROWS: list[tuple[str, str, Mapping[str, Any]]] = [
    ("github-workflow_run-completed.json", "github-actions", {
        "RunId": "289782451", "Status": "Completed", "OriginalStatus": "success", "Attempt": 1, "ExperimentName": "test",
        "WorkspaceName": "octo-org/octo-repo", "Target": "master", "TimeGenerated": datetime(2020, 10, 5, 16, 33, 49)}),
    ("github-workflow_run-requested.json", "github-actions", {"Status": "Queued", "WorkspaceName": "octo-org/octo-repo"}),
    ("prefect-flow-run-event-1.json", "prefect", {
        "RunId": "e3755d32-cec5-42ca-9bcd-af236e308ba6", "Status": "Running", "Attempt": 1, "DisplayName": "crimson-fox",
        "ExperimentName": "my-etl-flow", "Target": "my-k8s-pool", "EventId": "f6a7b890-1234-5678-9012-abcdef345678",
        "TimeGenerated": datetime(2026, 3, 31, 18, 30)}),
    ("sagemaker-training-job-state-change.json", "sagemaker", {
        "RunId": "89c96cc8-dded-4739-afcc-6f1dc936701d", "Status": "Completed", "RunType": "training",
        "EventId": "844e2571-85d4-695f-b930-0153b71dcb42", "TimeGenerated": datetime(2018, 10, 6, 12, 26, 13)}),
    ("sagemaker-transform-job-state-change.json", "sagemaker", {
        "RunId": "4b52bd8f-e034-4345-818d-884bdd7c9724", "Status": "Unknown", "OriginalStatus": "another status... GO",
        "Message": "failed why 1"}),
    ("sagemaker-pipeline-execution-state-change.json", "sagemaker", {
        "RunId": "p4jn9xou8a8s", "Status": "Completed", "ExperimentName": "myPipeline-123"}),
    ("awsbatch-job-state-change-1.json", "aws-batch", {
        "RunId": "4c7599ae-0a82-49aa-ba5a-4727fcce14a8", "Status": "Queued", "OriginalStatus": "RUNNABLE",
        "ExperimentName": "event-test", "Target": "PexjEHappyPathCanary2JobQueue", "Attempt": 1}),
    ("databricks-jobs-on_start-job.json", "databricks", {"RunId": "run_id", "Status": "Running", "ExperimentName": "job_name"}),
    ("databricks-jobs-on_failure-job.json", "databricks", {
        "RunId": "123456789", "Status": "Failed", "ExperimentName": "freewheel-placement-pipeline"}),
    ("databricks-jobs-on_failure-flat-thirdparty.json", "databricks", {
        "RunId": "11223344", "Status": "Failed", "ErrorCode": "INTERNAL_ERROR", "ExperimentName": "nightly_etl_pipeline",
        "TimeGenerated": datetime(2026, 4, 13, 2, 15, 32)}),
    ("skuber-kubernetes-job-failed-backofflimit.json", "kubernetes-jobs", {
        "RunId": "default/pi", "Status": "Failed", "Attempt": 3, "ErrorCode": "BackoffLimitExceeded",
        "TimeGenerated": datetime(2019, 2, 1, 11, 43, 5)}),
    ("kubernetesapi-roundtrip-batch-v1-Job.json", "kubernetes-jobs", {"RunId": "uidValue", "Status": "Running"}),
    ("kubeflow-pytorch-job-with-status-0.yaml", "kubernetes-jobs", {"Status": "Completed", "RunType": "PyTorchJob"}),
    ("kubeflow-mpi-job-with-status-1.yaml", "kubernetes-jobs", {"Status": "Completed", "RunType": "MPIJob"}),
    ("argo-workflow-status-dag-disable-fail-fast.yaml", "argo", {
        "RunId": "734516b5-97f2-11e9-9fea-00163e00cf4e", "Status": "Failed", "Message": "failed with exit code 2",
        "TimeGenerated": datetime(2019, 6, 26, 9, 12, 46)}),
    ("argo-workflow-status-steps-failed-retries.yaml", "argo", {"Status": "Running"}),
    ("marquez-event-full.json", "openlineage", {"WillRetry": False}),
    ("openlineage-client-example_full_event.json", "openlineage", {}),
    ("openlineage-flink-failed.json", "openlineage", {
        "Status": "Failed", "ExperimentName": "flink_failed_job", "Message": "Application Status: FAILED"}),
]  # fmt: skip

DROPPED = [
    ("github-workflow_job-completed-failure.json", "github-actions"),
    ("sagemaker-image-state-change.json", "sagemaker"),
    ("sagemaker-model-card-state-change.json", "sagemaker"),
    ("sagemaker-model-package-state-change.json", "sagemaker"),
    ("sagemaker-training-job-state-change.json", "aws-batch"),
    ("awslambdago-cloudwatch-alarm-sns.json", "aws-batch"),
    ("awslambdago-codebuild-state-change.json", "sagemaker"),
    ("kubernetesapi-roundtrip-core-v1-Event.json", "kubernetes-jobs"),
    ("otelstanza-kubernetes-event-wrapped.json", "kubernetes-jobs"),
    ("googlecloudevents-pubsub-message-text.json", "vertex"),
    ("marquez-event-required-only.json", "openlineage"),
    ("marquez-event-required-no-timezone.json", "openlineage"),
    ("marquez-event-job-event.json", "openlineage"),
    ("openlineage-client-dataset_event-no-run.json", "openlineage"),
    ("wandb-webhook-payload-template-githubdispatch.json", "wandb"),
]
"""What these sources send besides status changes of runs."""


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    return dict(load_consumers(sorted((ROOT / "consumers").glob("*.yaml"))))


@pytest.fixture
def ask(behind: Behind, shipped: dict[str, Any]) -> Ask:
    return asker(HttpIntake(lambda: shipped, behind.writer, behind.metrics, behind.clock))


@pytest.mark.parametrize(("name", "consumer", "expected"), ROWS)
def test_a_public_payload_is_a_row(
    behind: Behind, ask: Ask, name: str, consumer: str, expected: dict[str, Any]
) -> None:
    """One event, no dead letter, and the columns that a person would look for."""
    answer = ask("POST", consumer, content=body(name), headers={"content-type": "application/json"}).json()
    assert (1, 0, 0) == (answer["accepted"], answer["dead"], answer["filtered"]), answer
    (row,) = behind.rows()
    assert expected == {column: row[column] for column in expected}
    assert consumer == row["Consumer"]


@pytest.mark.parametrize(("name", "consumer"), DROPPED)
def test_what_is_no_status_change_is_dropped(behind: Behind, ask: Ask, name: str, consumer: str) -> None:
    """It is counted, and is neither a row nor a dead letter."""
    answer = ask("POST", consumer, content=body(name), headers={"content-type": "application/json"}).json()
    assert (0, 0) == (answer["accepted"], answer["dead"]), answer
    assert answer["filtered"] > 0


def test_airflows_lineage_tells_runs_apart(behind: Behind, ask: Ask) -> None:
    """OpenLineage's own integration test of Airflow; its templates name no run, so it gets one a job."""
    events = json.loads(body("openlineage-airflow-failing-bash.json"))
    for event in events:
        event["run"]["runId"] = event["job"]["name"]
    answer = ask("POST", "openlineage", json=events).json()
    assert (len(events), 0) == (answer["accepted"], answer["dead"]), answer
    ends = {r["RunId"]: r["WillRetry"] for r in behind.rows() if r["Status"] == "Failed"}
    assert ["bash_dag.failing_task"] == list(ends)
