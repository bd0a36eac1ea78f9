"""Kubernetes: what the API server would say of each document, and what it wouldn't: that selectors meet something, that
what is named exists, that nothing runs as root or without bounds."""

import json
import re
from functools import lru_cache

import kubernetes_validate
import yaml

from files import against, documents, pod_template
from known import DEMAND

VERSION = "1.32"
OWN = {"keda.sh/v1alpha1": "keda.json", "serving.knative.dev/v1": "knative-service.json"}
PROBES = {"startupProbe": "/livez", "livenessProbe": "/livez"}


def api(document, where):
    """The API server's schema, without unknown fields."""
    complaint = _validate(json.dumps(document, sort_keys=True))
    if complaint:
        yield f"{where}: {complaint}"


# Slow, and most documents of a copy with a mistake in it are as they were.
@lru_cache
def _validate(text):
    document = json.loads(text)
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return getattr(error, "message", str(error))[:300]
    except kubernetes_validate.SchemaNotFoundError:
        return f"Kubernetes {VERSION} has no {document.get('kind')} of {document.get('apiVersion')}"
    return None


def pod(template, where, leave=()):
    """A pod's part of another platform's document, as Kubernetes itself would take it."""
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in leave}
    # Cloud Run and Knative leave names out.
    spec["containers"] = [{"name": "of", **container} for container in spec.get("containers") or []]
    yield from api({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "of"}, "spec": spec}, where)


KNATIVE_OWN = ("containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds", "idleTimeoutSeconds")


def cloud_run(root, binary):
    folder = root / "deploy/cloud-run"
    for path in sorted(folder.glob("*.yaml")):
        where = str(path.relative_to(root))
        for document in documents(path):
            yield from against(root, "cloud-run-service.json", document, where)
            template = pod_template(document)
            # Cloud Run's secretKeyRef is a secret's name and a version: the same words.
            yield from pod(template, where, KNATIVE_OWN)
            for container in template["spec"]["containers"]:
                yield from _probes(container, where)
    worker = documents(folder / "worker.yaml")[0]["spec"]["template"]
    gateway = documents(folder / "gateway.yaml")[0]["spec"]["template"]
    if worker["spec"]["containerConcurrency"] != 1:
        yield "worker.yaml: a second wake would meet the first one's instance; containerConcurrency must be 1"
    if worker["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] != "0":
        yield "worker.yaml: it must scale to zero"
    if int(gateway["metadata"]["annotations"]["autoscaling.knative.dev/minScale"]) < 1:
        yield "gateway.yaml: one must always be there"
    prose = (root / "deploy/README.md").read_text()
    for path in sorted(folder.glob("*.yaml")):
        for name in sorted(set(re.findall(r"\$\{(\w+)\}", path.read_text()))):
            if not re.search(rf"\bexport [^\n]*\b{name}=", prose):
                yield f"{path.name}: deploy/README.md doesn't say what ${{{name}}} is"


def cluster(root, binary):
    folder = root / "deploy/kubernetes"
    everything = {}
    for path in sorted(folder.rglob("*.yaml")):
        where = str(path.relative_to(root))
        try:
            found = documents(path)
        except yaml.YAMLError as error:
            yield f"{where}: {error}"
            continue
        for document in found:
            if document.get("kind") == "Kustomization":
                yield from against(root, "kustomization.json", document, where)
                yield from _kustomization(path, document, where)
            elif document.get("apiVersion") in OWN:
                yield from against(root, OWN[document["apiVersion"]], document, where)
                if document["kind"] == "Service":
                    yield from pod(pod_template(document), where, KNATIVE_OWN)
            elif path.name != "gateway.yaml" or path.parent.name != "knative":
                # That one is a patch, and no whole document.
                yield from api(document, where)
            everything.setdefault(path.parent.name, []).append((where, document))
    for overlay in ("keda", "knative"):
        together = [entry for part in ("base", "redis", overlay) for entry in everything.get(part, [])]
        yield from _together(root, overlay, together)


def _kustomization(path, document, where):
    named = [*document.get("resources", []), *(patch["path"] for patch in document.get("patches", []))]
    for name in named:
        target = path.parent / name
        if not (target.is_file() or (target / "kustomization.yaml").is_file()):
            yield f"{where}: there is no {name}"
    for file in sorted(path.parent.glob("*.yaml")):
        if file.name != "kustomization.yaml" and file.name not in named:
            yield f"{where}: {file.name} is not in it"


def _probes(container, where):
    for probe, path in PROBES.items():
        asked = ((container.get(probe) or {}).get("httpGet") or {}).get("path")
        if asked is not None and asked != path:
            yield f"{where}: {probe} asks {asked}; a model that loads is no reason to end the process: {path}"
    if not container.get("livenessProbe"):
        yield f"{where}: {container.get('name')} has no livenessProbe"


def _together(root, overlay, entries):
    """What one `kubectl apply -k` brings, seen as a whole."""
    prose = (root / "deploy/README.md").read_text()
    patches = [d for w, d in entries if w.endswith("knative/gateway.yaml")]
    entries = [(w, d) for w, d in entries if not w.endswith("knative/gateway.yaml") and d["kind"] != "Kustomization"]
    kinds = {}
    for where, document in entries:
        key = document["apiVersion"].split("/")[0], document["kind"], document["metadata"]["name"]
        if key in kinds:
            yield f"{where}: {' '.join(key[1:])} is there twice"
        kinds[key] = document
    names = {(kind, name) for _, kind, name in kinds}
    workloads = [(w, d) for w, d in entries if (pod_template(d).get("spec") or {}).get("containers")]
    labels = [pod_template(document)["metadata"].get("labels", {}) for _, document in workloads]

    def meets(selector):
        return not selector or any(selector.items() <= of.items() for of in labels)

    for patch in patches:
        name = patch["metadata"]["name"]
        if (patch["kind"], name) not in names:
            yield f"{overlay}: a patch is for {patch['kind']} {name}, which isn't there"
            continue
        there = {c["name"] for w, d in workloads if d["metadata"]["name"] == name for c in pod_template(d)["spec"]["containers"]}
        for container in pod_template(patch)["spec"]["containers"]:
            if container["name"] not in there:
                yield f"{overlay}: a patch is for a container {container['name']}, which isn't there"
    for where, document in entries:
        kind, spec = document["kind"], document.get("spec") or {}
        selector = {
            "Service": spec.get("selector") if document["apiVersion"] == "v1" else None,
            "PodDisruptionBudget": (spec.get("selector") or {}).get("matchLabels"),
            "NetworkPolicy": (spec.get("podSelector") or {}).get("matchLabels"),
            "Deployment": (spec.get("selector") or {}).get("matchLabels"),
            "StatefulSet": (spec.get("selector") or {}).get("matchLabels"),
        }.get(kind)
        if not meets(selector):
            yield f"{where}: {kind} {document['metadata']['name']} selects nothing"
        if kind == "NetworkPolicy":
            for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
                for peer in [*(rule.get("from") or []), *(rule.get("to") or [])]:
                    if not meets((peer.get("podSelector") or {}).get("matchLabels")):
                        yield f"{where}: NetworkPolicy {document['metadata']['name']} lets nothing in or out by a selector"
        if kind == "ScaledObject":
            if ("Deployment", spec["scaleTargetRef"]["name"]) not in names:
                yield f"{where}: there is no Deployment {spec['scaleTargetRef']['name']} to scale"
            yield from _triggers(where, spec, names, kinds)
    for where, document in workloads:
        yield from _workload(where, document, names, prose)


def _triggers(where, spec, names, kinds):
    for trigger in spec["triggers"]:
        reference = trigger["authenticationRef"]["name"]
        if ("TriggerAuthentication", reference) not in names:
            yield f"{where}: there is no TriggerAuthentication {reference}"
        metadata = trigger["metadata"]
        if metadata["valueLocation"] not in DEMAND:
            yield f"{where}: /v1/demand has no {metadata['valueLocation']}"
        if not metadata["url"].endswith("/v1/demand"):
            yield f"{where}: {metadata['url']} is not where the demand is told"
        host = re.match(r"http://([\w-]+)\.([\w-]+)\.svc:(\d+)/", metadata["url"])
        service = host and kinds.get(("v1", "Service", host[1]))
        if not service or host[2] != "warmcut" or int(host[3]) not in [port["port"] for port in service["spec"]["ports"]]:
            yield f"{where}: {metadata['url']} is no service of ours"


def _workload(where, document, names, prose):
    template = pod_template(document)
    spec, knative = template["spec"], document["apiVersion"].startswith("serving.knative.dev")
    who = f"{where}: {document['metadata']['name']}"
    outer = spec.get("securityContext") or {}
    account = spec.get("serviceAccountName")
    if account and ("ServiceAccount", account) not in names:
        yield f"{who}: there is no ServiceAccount {account}"
    if not knative and not spec.get("terminationGracePeriodSeconds"):
        yield f"{who}: no terminationGracePeriodSeconds"
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
    volumes |= {claim["metadata"]["name"]: claim for claim in document["spec"].get("volumeClaimTemplates") or []}
    secrets = [volume["secret"]["secretName"] for volume in volumes.values() if "secret" in volume]
    for container in spec["containers"]:
        inner = container.get("securityContext") or {}
        of = f"{who}/{container['name']}"
        if not (inner.get("runAsNonRoot") or outer.get("runAsNonRoot")):
            yield f"{of}: it may run as root"
        if not inner.get("readOnlyRootFilesystem"):
            yield f"{of}: its root file system can be written to"
        if inner.get("allowPrivilegeEscalation") is not False or (inner.get("capabilities") or {}).get("drop") != ["ALL"]:
            yield f"{of}: it may get more rights than it needs"
        if not (inner.get("seccompProfile") or outer.get("seccompProfile")):
            yield f"{of}: no seccompProfile"
        resources = container.get("resources") or {}
        for bound in ("requests", "limits"):
            for what in ("cpu", "memory"):
                if what not in (resources.get(bound) or {}):
                    yield f"{of}: no {bound} of {what}"
        yield from _probes(container, of)
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in volumes:
                yield f"{of}: there is no volume {mount['name']}"
        secrets += [
            entry["valueFrom"]["secretKeyRef"]["name"] for entry in container.get("env") or [] if "valueFrom" in entry
        ]
        secrets += [entry["secretRef"]["name"] for entry in container.get("envFrom") or []]
    for secret in sorted(set(secrets)):
        if f"secret generic {secret} " not in prose:
            yield f"{who}: deploy/README.md doesn't say how the secret {secret} is made"
