"""Real payloads of Azure Machine Learning go in by HTTP and come out of the store as written here by hand."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from tests.integration.intake.behind import Ask, Behind, sample

DOCS_SOURCE = (
    "/subscriptions/{subscription-id}/resourceGroups/{resource-group-name}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace-name}"
)
CANARY = (
    "/subscriptions/a5fe3bc5-98f0-4c84-affc-a589f54d9b23/resourceGroups/jenns"
    "/providers/Microsoft.MachineLearningServices/workspaces/jenns-canary"
)
SPEC = {
    "objects": [
        {"class_name": "StandardScaler", "module": "sklearn.preprocessing", "param_args": [],
         "param_kwargs": {"with_mean": True, "with_std": False}, "prepared_kwargs": {}, "spec_class": "preproc"},
        {"class_name": "LassoLars", "module": "sklearn.linear_model", "param_args": [],
         "param_kwargs": {"alpha": 0.001, "normalize": True}, "prepared_kwargs": {}, "spec_class": "sklearn"},
    ],
    "pipeline_id": "5adc0a4fe02504a586f09a4fcbb241f9a4012062",
}  # fmt: skip
ARTIFACT = "aml://artifact/ExperimentRun/dcid.AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc_5/outputs"

STORES_OWN = {"IngestedAt", "CommitSeq", "StartTime", "EndTime", "DurationMs", "StartDerived", "GivenTime"}
"""What the store adds or derives."""
NOTHING: Mapping[str, Any] = {
    "ParentRunId": "", "Reason": "", "Message": "", "ErrorCode": "", "LogTail": "", "DisplayName": "", "Target": "",
    "TriggeringUserName": "", "OwnerEmail": "", "Progress": None, "Attempt": 0,
    "WillRetry": False, "RunType": "", "Consumer": "event-grid", "TimeGiven": True,
}  # fmt: skip

CHILD: Mapping[str, Any] = {
    **NOTHING,
    "EventId": "831e1650-001e-001b-66ab-eeb76e069631",
    "Source": DOCS_SOURCE,
    "TimeGenerated": datetime(2017, 6, 26, 18, 41, 0, 958410),
    "RunId": "AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc_5",
    "RootRunId": "AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc_5",
    "JobKey": "AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc_5",
    "ExperimentName": "automl-local-regression",
    "WorkspaceName": "{workspace-name}",
    "Tags": {},
    "Properties": {
        "runTemplate": "automl_child",
        "pipeline_id": "5adc0a4fe02504a586f09a4fcbb241f9a4012062",
        "pipeline_spec": json.dumps(SPEC),
        "training_percent": "100",
        "predicted_cost": "0.062226144097381045",
        "iteration": "5",
        "run_template": "automl_child",
        "run_preprocessor": "StandardScalerWrapper",
        "run_algorithm": "LassoLars",
        "conda_env_data_location": f"{ARTIFACT}/conda_env_v_1_0_0.yml",
        "model_name": "AutoMLad912b2d65",
        "scoring_data_location": f"{ARTIFACT}/scoring_file_v_1_0_0.py",
        "model_data_location": f"{ARTIFACT}/model.pkl",
    },
    "Url": "https://ml.azure.com/runs/AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc_5?wsid=/subscriptions/%7Bsubscription-id%7D"
    "/resourcegroups/%7Bresource-group-name%7D/workspaces/%7Bworkspace-name%7D",
}
COMPLETED = {**CHILD, "Status": "Completed", "OriginalStatus": "Completed"}
FAILED = {**CHILD, "Status": "Failed", "OriginalStatus": "failed"}
RUNNING: Mapping[str, Any] = {
    **NOTHING,
    "EventId": "aa8cd7df-fe28-5d5d-9b40-3342dbc2a887",
    "Source": CANARY,
    "TimeGenerated": datetime(2020, 3, 9, 23, 53, 4, 457972),
    "RunId": "AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc",
    "RootRunId": "AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc",
    "JobKey": "AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc",
    "Status": "Running",
    "OriginalStatus": "Running",
    "ExperimentName": "automl-local-regression",
    "WorkspaceName": "jenns-canary",
    "RunType": "automl",
    "Target": "local",
    "Tags": {"experiment_status": "ModelSelection", "experiment_status_descr": "Beginning model selection."},
    "Properties": {"num_iterations": "10", "target": "local"},
    "Url": "https://ml.azure.com/runs/AutoML_ad912b2d-6467-4f32-a616-dbe4af6dd8fc?wsid=/subscriptions"
    "/a5fe3bc5-98f0-4c84-affc-a589f54d9b23/resourcegroups/jenns/workspaces/jenns-canary",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("azuredocs-aml-runcompleted-eventgrid-array.json", COMPLETED),
        (
            "azuredocs-aml-runstatuschanged-eventgrid-array.json",
            FAILED,
        ),  # its type says RunCompleted, its status failed
        ("restapispecs-aml-run_completed-cloudevents.json", COMPLETED),
        ("restapispecs-aml-run_status_changed-eventgrid.json", FAILED),
        ("azuresdkgo-aml-runstatuschanged-cloudevents-array.json", RUNNING),
        ("azuresdknet-aml-runstatuschanged-eventgrid-array.json", RUNNING),
    ],
)
def test_a_run_event_becomes_this_row(behind: Behind, ask: Ask, name: str, expected: Mapping[str, Any]) -> None:
    """Every column, in either schema, from arrays and alone; posted again it is a duplicate."""
    body = sample(name)
    first = ask("POST", "event-grid", content=body, headers={"content-type": "application/json"})
    assert (202, 1, 0) == (first.status_code, first.json()["accepted"], first.json()["dead"])
    again = ask("POST", "event-grid", content=body, headers={"content-type": "application/cloudevents-batch+json"})
    assert (202, 0, 1) == (again.status_code, again.json()["accepted"], again.json()["duplicate"])
    (row,) = behind.rows()
    received = json.loads(body)
    assert (received[0] if isinstance(received, list) else received) == json.loads(row.pop("Raw"))
    row["Tags"], row["Properties"] = json.loads(row["Tags"]), json.loads(row["Properties"])
    assert dict(expected) == {name: value for name, value in row.items() if name not in STORES_OWN}


@pytest.mark.parametrize(
    ("name", "filtered"),
    [
        ("azuredocs-aml-datasetdriftdetected-eventgrid-array.json", 1),
        ("azuresdkjava-eventgrid-no-data-field.json", 1),
        ("azuresdknet-eventgrid-custom-stringdata.json", 1),
        ("azuresdknet-eventgrid-three-events-batch.json", 3),
    ],
)
def test_other_events_are_dropped_and_counted(behind: Behind, ask: Ask, name: str, filtered: int) -> None:
    """They are no status changes and no dead letters."""
    answer = ask("POST", "event-grid", content=sample(name))
    expected = {"accepted": 0, "duplicate": 0, "heartbeats": 0, "dead": 0, "filtered": filtered}
    assert (202, expected) == (answer.status_code, answer.json())
    assert (0, 0) == (behind.count(), behind.count("DeadLetters"))
    assert filtered == behind.metric("tocsin_intake_messages_total", consumer="event-grid", outcome="filtered")


def test_the_validation_event_is_answered(behind: Behind, ask: Ask) -> None:
    """With its code, and it is no event."""
    answer = ask("POST", "event-grid", content=sample("azuredocs-eventgrid-subscriptionvalidation.json"))
    assert (200, {"validationResponse": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}) == (answer.status_code, answer.json())
    assert 0 == behind.count()
