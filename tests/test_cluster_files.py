"""The files for clusters: against Ray's own schema where it ships one, else against what their readers require."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

FOLDER = Path(__file__).parent.parent / "cluster"

POD = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["containers", "volumes"],
            "properties": {
                "containers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "object", "required": ["name", "image", "resources", "env"]},
                }
            },
        }
    },
}
RAYJOB = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "spec": {
            "type": "object",
            "required": ["entrypoint", "rayClusterSpec"],
            "additionalProperties": False,
            "properties": {
                "entrypoint": {"type": "string"},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "backoffLimit": {"type": "integer"},
                "runtimeEnvYAML": {"type": "string"},
                "rayClusterSpec": {
                    "type": "object",
                    "required": ["headGroupSpec", "workerGroupSpecs"],
                    "properties": {
                        "headGroupSpec": {
                            "type": "object",
                            "required": ["template", "rayStartParams"],
                            "properties": {
                                "template": POD,
                                "rayStartParams": {
                                    "additionalProperties": {"type": "string"},
                                    "properties": {"num-gpus": {"const": "0"}},
                                },
                            },
                        },
                        "workerGroupSpecs": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["groupName", "minReplicas", "maxReplicas", "template"],
                                "properties": {"template": POD},
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture
def rayjob() -> dict[str, Any]:
    job, _ = yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text())
    return job


def test_the_rayjob_has_what_kuberay_requires(rayjob):
    jsonschema.validate(rayjob, RAYJOB)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(rayjob | {"spec": {"entrypoint": "x"}}, RAYJOB)


def test_the_rayjob_runs_this_version_of_ray_with_a_token_and_with_shared_memory(rayjob):
    spec = rayjob["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == ray.__version__
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
        assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
        assert {volume["name"] for volume in pod["volumes"]} == {"shared", "shm"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_the_launchers_file_agrees_with_rays_schema_on_premises_and_on_a_cloud():
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    text = (FOLDER / "cluster.yaml").read_text()
    own = yaml.safe_load(text)
    jsonschema.validate(own, schema)
    comments = text.partition("# A cloud:")[2].partition("#\n")[2]
    cloud = yaml.safe_load(re.sub(r"^# ?", "", comments, flags=re.MULTILINE))
    jsonschema.validate(own | cloud, schema)
    assert cloud["provider"]["type"] == "aws"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(own | {"cluster_nam": "typo"}, schema)


@pytest.mark.parametrize("name", ["cluster.yaml", "slurm.sh"])
def test_no_dashboard_listens_beyond_its_machine_and_a_token_is_asked_for(name):
    text = (FOLDER / name).read_text()
    assert "0.0.0.0" not in text
    assert "--dashboard-host=127.0.0.1" in text or "--include-dashboard=false" in text
    assert "RAY_AUTH_MODE=token" in text


def test_the_slurm_script_is_bash():
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)


def test_the_image_holds_every_package_and_runs_as_no_root():
    text = (FOLDER / "Dockerfile").read_text()
    for package in ("generate", "label", "deeplab", "cluster", "pipelines"):
        assert f"source/{package}\n" in text
    assert text.index("USER ray") > text.index("pip install")
    assert "RAY_AUTH_MODE=token" in text
