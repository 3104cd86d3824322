"""The Helm chart, as helm renders it: Kubernetes' schemas, what the pod may, and settings that tocsin takes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]

from deploy.kubernetes.__main__ import CHART, RENDERED, chart_hash
from tocsin.app.views.check import check
from tocsin.config.project.home import open_home

BIN = Path(sys.executable).parent


def run(*command: str) -> str:
    """Run it; what it said where it ended with 0."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(RENDERED.read_text()) if each]


def only(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in objects if each["kind"] == kind]
    return found


def test_the_chart_was_rendered_since_it_changed() -> None:
    assert f"# chart: {chart_hash()}\n" in RENDERED.read_text(), "run `python -m deploy.kubernetes` (it needs Go)"


def test_kubernetes_knows_every_object(objects: list[dict[str, Any]], tmp_path: Path) -> None:
    """All but the ServiceMonitor, which is Prometheus's operator's."""
    known = [each for each in objects if each["kind"] != "ServiceMonitor"]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(known))
    run(str(BIN / "kubernetes-validate"), "--strict", str(tmp_path / "all.yaml"))
    assert {"ConfigMap", "NetworkPolicy", "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet"} == {
        each["kind"] for each in objects
    }


def test_the_pod_may_little_and_ends_in_time(objects: list[dict[str, Any]]) -> None:
    stateful = only(objects, "StatefulSet")["spec"]
    pod = stateful["template"]["spec"]
    (container,) = pod["containers"]
    assert 1 == stateful["replicas"]
    assert [["ReadWriteOncePod"]] == [c["spec"]["accessModes"] for c in stateful["volumeClaimTemplates"]]
    assert (True, 10001) == (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"])
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {"drop": ["ALL"]} == container["securityContext"]["capabilities"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 600


def test_what_reloads_is_mounted_as_a_directory(objects: list[dict[str, Any]]) -> None:
    """A subPath is not updated when its ConfigMap changes; only the settings may be one, and they restart the pod."""
    (container,) = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    by_path = {"settings"}
    assert by_path == {m["name"] for m in container["volumeMounts"] if "subPath" in m}
    assert "checksum/settings" in only(objects, "StatefulSet")["spec"]["template"]["metadata"]["annotations"]


def test_the_settings_of_the_chart_are_right(objects: list[dict[str, Any]], tmp_path: Path) -> None:
    maps = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    (tmp_path / "rules" / "alerts").mkdir(parents=True)
    (tmp_path / "tocsin.yaml").write_text(maps["tocsin-settings"]["tocsin.yaml"])
    for name, text in maps["tocsin-rules"].items():
        (tmp_path / "rules" / "alerts" / name).write_text(text)
    assert [] == [str(p) for p in check(open_home(tmp_path), with_tests=False) if not p.warning]


def test_the_schema_of_values_takes_the_defaults_and_refuses_a_slip() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"replicas": 3}, schema)
