"""What several checks read of deploy files: documents, containers, Terraform without its quotes, durations."""

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache

import hcl2
import jsonschema
import yaml

from known import COMMANDS

SCHEMAS = "tests/deploy/schemas"


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def against(root, schema, document, where):
    """Complaints of a schema, the deepest ones first where several alternatives failed."""
    validator = jsonschema.Draft202012Validator(json.loads((root / SCHEMAS / schema).read_text()))
    for error in validator.iter_errors(document):
        error = jsonschema.exceptions.best_match([error])
        at = "/".join(str(part) for part in error.absolute_path)
        yield f"{where}: {at or 'the document'}: {error.message[:300]}"


@dataclass
class Container:
    """A process of ours, as some platform's file starts it."""

    where: str
    command: str
    arguments: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)


def _ours(where, container):
    arguments = [str(argument) for argument in container.get("args") or []]
    named = arguments[:1] or [container["name"]]
    if named[0] not in COMMANDS:
        return None
    environment = {entry["name"]: entry.get("value") for entry in container.get("env") or []}
    return Container(where, named[0], arguments[1:], environment)


def pod_template(document):
    """What of a workload is a pod's, whichever kind it is."""
    return ((document.get("spec") or {}).get("template")) or {}


def containers(root):
    """Every process of ours in every deploy file."""
    deploy = root / "deploy"
    for path in [*sorted((deploy / "cloud-run").glob("*.yaml")), *sorted((deploy / "kubernetes").rglob("*.yaml"))]:
        for document in documents(path):
            for container in (pod_template(document).get("spec") or {}).get("containers") or []:
                yield _ours(str(path.relative_to(root)), container)
    for path in sorted((deploy / "cloud-run/terraform").glob("*.tf")):
        for kind, name, body in resources(terraform(path)):
            for template in body.get("template") or []:
                for container in template.get("containers") or []:
                    yield _ours(f"{path.relative_to(root)}: {kind}.{name}", container)
    compose = deploy / "compose.yaml"
    for name, service in (documents(compose)[0].get("services") or {}).items():
        entries = [{"name": key, "value": value} for key, value in (service.get("environment") or {}).items()]
        yield _ours(f"deploy/compose.yaml: {name}", {"name": name, "args": service.get("command"), "env": entries})
    blueprint = deploy / "render/render.yaml"
    for service in documents(blueprint)[0].get("services") or []:
        entries = [{"name": entry["key"], "value": entry.get("value")} for entry in service.get("envVars") or []]
        # The image's own command.
        yield _ours(f"deploy/render/render.yaml: {service.get('name')}", {"name": "serve", "env": entries})


def processes(root):
    return [container for container in containers(root) if container is not None]


def terraform(path):
    return _parsed(path.read_text())


# The parser is slow, and most of the copies with a mistake in them differ in one file only.
@lru_cache
def _parsed(text):
    return _plain(hcl2.loads(text))


def _plain(value):
    if isinstance(value, dict):
        return {_plain(key): _plain(of) for key, of in value.items() if key == BLOCK or not key.startswith("__")}
    if isinstance(value, list):
        return [_plain(of) for of in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


# How the parser tells a block from an attribute.
BLOCK = "__is_block__"


def resources(module):
    for resource in module.get("resource") or []:
        for kind, named in resource.items():
            for name, body in named.items():
                yield kind, name, body


def seconds(text):
    """A duration such as 50m, 1h30m or 3600s."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    parts = re.findall(r"(\d+)([smhd])", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text} is no duration")
    return sum(int(number) * units[unit] for number, unit in parts)
