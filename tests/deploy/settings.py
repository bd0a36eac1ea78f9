"""Every flag and variable that a deploy file or its prose uses is one that the command has, and the values agree."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import known
from files import documents, processes, resources, seconds, terraform

STARTED_S = 20


def check(root, binary):
    """Names."""
    flags = known.flags(binary)
    told = processes(root)
    if len(told) < 8:
        yield f"only {len(told)} processes of ours were found in the deploy files"
    for process in told:
        own = {f"WARMCUT_{flag.upper().replace('-', '_')}" for flag in flags[process.command]}
        for name in process.environment:
            if name.startswith("WARMCUT_") and name not in own:
                yield f"{process.where}: warmcut {process.command} has no {name}"
            elif not name.startswith("WARMCUT_") and name not in known.FOREIGN_ENVIRONMENT:
                yield f"{process.where}: {name} is nothing that warmcut reads"
        for argument in process.arguments:
            name = argument.removeprefix("--").split("=")[0]
            if argument.startswith("--") and name not in flags[process.command]:
                yield f"{process.where}: warmcut {process.command} has no {argument}"
    every = known.all_flags(binary)
    for prose in ("docs/runbook.md", "deploy/README.md"):
        text = (root / prose).read_text()
        commands = re.findall(r"^(warmcut .*)$|`(warmcut [^`]*)`", text, re.MULTILINE)
        named = re.findall(r"`--([a-z][a-z0-9-]*)", text)
        named += re.findall(r" --([a-z][a-z0-9-]*)", " ".join(" ".join(pair) for pair in commands))
        for name in sorted(set(named) - every):
            yield f"{prose}: no command of warmcut has --{name}"
        for name in sorted(set(re.findall(r"WARMCUT_[A-Z_]+", text))):
            if name.removeprefix("WARMCUT_").lower().replace("_", "-") not in every | {"bin"}:
                yield f"{prose}: no command of warmcut has {name}"


def _environment(root, file, command):
    return next(
        process.environment for process in processes(root) if process.command == command and process.where.startswith(file)
    )


def check_values(root, binary):
    """Bounds that two files must agree on."""
    deploy = root / "deploy"
    # A platform, the gateway's file, the worker's bounds: most instances, seconds of a request.
    cloud = documents(deploy / "cloud-run/worker.yaml")[0]["spec"]["template"]
    knative = next(d for d in documents(deploy / "kubernetes/knative/worker.yaml") if d["kind"] == "Service")["spec"]["template"]
    scaled = next(d for d in documents(deploy / "kubernetes/keda/scale.yaml") if d["kind"] == "ScaledObject")["spec"]
    base = _environment(root, "deploy/kubernetes/base", "gateway")
    platforms = [
        ("Cloud Run", _environment(root, "deploy/cloud-run/gateway.yaml", "gateway"),
         cloud["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"], cloud["spec"]["timeoutSeconds"]),
        ("Knative", base | _environment(root, "deploy/kubernetes/knative", "gateway"),
         knative["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"], knative["spec"]["timeoutSeconds"]),
        ("KEDA", base, scaled["maxReplicaCount"], None),
    ]
    for platform, gateway, most, timeout in platforms:
        if int(gateway["WARMCUT_MAX_WORKERS"]) > int(most):
            yield f"{platform}: the gateway wants {gateway['WARMCUT_MAX_WORKERS']} workers, the platform gives {most}"
        if timeout and seconds(gateway["WARMCUT_WAKE_HOLD"]) >= int(timeout):
            yield f"{platform}: a wake is held for {gateway['WARMCUT_WAKE_HOLD']}, the platform ends it after {timeout} s"
    folder = deploy / "cloud-run/terraform"
    services = {
        name: body["template"][0]
        for path in sorted(folder.glob("*.tf"))
        for kind, name, body in resources(terraform(path))
        if kind == "google_cloud_run_v2_service"
    }
    gateway = _environment(root, "deploy/cloud-run/terraform", "gateway")
    if seconds(gateway["WARMCUT_WAKE_HOLD"]) >= seconds(services["worker"]["timeout"]):
        yield "Terraform: a wake is held for longer than the worker's timeout"
    if "var.max_workers" not in gateway["WARMCUT_MAX_WORKERS"]:
        yield "Terraform: the gateway's most workers are not the worker's"
    if services["worker"]["scaling"][0]["max_instance_count"] != "${var.max_workers}":
        yield "Terraform: the worker's most instances are not the gateway's"
    # The YAML and the Terraform of one service say the same.
    for role in ("gateway", "worker"):
        yaml = _environment(root, f"deploy/cloud-run/{role}.yaml", role)
        ours = _environment(root, "deploy/cloud-run/terraform", role)
        for name in sorted(set(yaml) ^ set(ours)):
            yield f"Cloud Run: {role}.yaml and {role}.tf don't both have {name}"
        for name in sorted(set(yaml) & set(ours)):
            values = yaml[name], ours[name]
            if None not in values and "$" not in "".join(values) and values[0] != values[1]:
                yield f"Cloud Run: {name} is {values[0]} in {role}.yaml and {values[1]} in {role}.tf"
    for prose, port in [("deploy/compose.yaml", "8080")]:
        if port not in _environment(root, prose, "worker")["WARMCUT_LISTEN"]:
            yield f"{prose}: the worker doesn't listen where the gateway wakes it"


def check_serve(root, binary):
    """`serve` with the environment of Render's blueprint starts and answers."""
    blueprint = _environment(root, "deploy/render/render.yaml", "serve")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WARMCUT_")}
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe, tempfile.TemporaryFile("w+") as log:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        # Secrets are unset, as they are before they were filled in; the port and the folder are this machine's.
        environment = inherited | {name: value or "" for name, value in blueprint.items()}
        environment |= {"WARMCUT_LISTEN": address, "WARMCUT_STATE_DIR": folder}
        server = subprocess.Popen([binary, "serve"], env=environment, stdout=log, stderr=log)
        try:
            deadline, alive = time.monotonic() + STARTED_S, False
            while not alive and time.monotonic() < deadline and server.poll() is None:
                try:
                    urllib.request.urlopen(f"http://{address}/livez", timeout=2).close()
                    alive = True
                except OSError:
                    # Nothing tells when a port begins to answer.
                    time.sleep(0.05)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        if not alive:
            log.seek(0)
            yield f"deploy/render/render.yaml: serve does not start with it: {log.read()[-600:]}"
