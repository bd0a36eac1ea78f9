"""Terraform: parsed, every reference leads somewhere, every argument is one that the provider has.

The providers' own schemas can't be fetched on every machine; schemas/terraform.json lists the arguments of what is
used here, blocks as objects and attributes as true."""

import json
import re

from files import BLOCK, resources, terraform

META = {"for_each", "count", "depends_on", "lifecycle", "provider"}


def check(root, binary):
    folder = root / "deploy/cloud-run/terraform"
    allowed = json.loads((root / "tests/deploy/schemas/terraform.json").read_text())
    declared, variables, outputs, texts = {}, {}, set(), {}
    for path in sorted(folder.glob("*.tf")):
        where = path.name
        try:
            module = terraform(path)
        except Exception as error:  # the parser raises its own generator's many kinds
            yield f"{where}: does not parse: {str(error).splitlines()[0]}"
            continue
        # References outside of comments only.
        texts[where] = re.sub(r"(^|\s)#.*$", "", path.read_text(), flags=re.MULTILINE)
        for kind, name, body in resources(module):
            if (kind, name) in declared:
                yield f"{where}: {kind}.{name} is declared twice"
            declared[kind, name] = body
            if kind not in allowed:
                yield f"{where}: {kind} is not in schemas/terraform.json"
                continue
            yield from _arguments(f"{where}: {kind}.{name}", body, allowed[kind], META)
        for variable in module.get("variable") or []:
            variables.update(variable)
        for output in module.get("output") or []:
            outputs.update(output)
    used = set()
    for where, text in texts.items():
        for kind, name in re.findall(r"(?<![\w\".])(google_\w+)\.(\w+)", text):
            if (kind, name) not in declared:
                yield f"{where}: {kind}.{name} is declared nowhere"
        for name in re.findall(r"\bvar\.(\w+)", text):
            used.add(name)
            if name not in variables:
                yield f"{where}: var.{name} is declared nowhere"
        if re.search(r"\b(data|module|local)\.\w+\.", text):
            yield f"{where}: refers to what this check doesn't know"
    for name in sorted(set(variables) - used):
        yield f"var.{name} is used nowhere"
    for (kind, name), body in declared.items():
        # A key of an instance made with for_each is one of its keys.
        keys = re.findall(r'"([^"]+)"', str(body.get("for_each") or ""))
        for where, text in texts.items():
            for key in re.findall(rf'\b{kind}\.{name}\["([^"]+)"\]', text):
                if key not in keys:
                    yield f"{where}: {kind}.{name} has no {key}"
    invokers = [
        (body["name"], body["member"])
        for (kind, _), body in declared.items()
        if kind == "google_cloud_run_v2_service_iam_member" and body.get("role") == "roles/run.invoker"
    ]
    for name, member in invokers:
        if "worker" in name and member != "${google_service_account.gateway.member}":
            yield f"{member} may start a GPU worker; only the gateway may"
    if not any("worker" in name for name, _ in invokers):
        yield "the gateway may not wake the worker"


def _arguments(where, body, allowed, more=frozenset()):
    for name, value in body.items():
        if name == BLOCK or name in more:
            continue
        if name not in allowed:
            yield f"{where}: no argument {name}"
            continue
        blocks = value if isinstance(value, list) and value and isinstance(value[0], dict) and BLOCK in value[0] else None
        if isinstance(allowed[name], dict) != (blocks is not None):
            yield f"{where}: {name} must be {'a block' if isinstance(allowed[name], dict) else 'an attribute'}"
        for block in blocks or []:
            if isinstance(allowed[name], dict):
                yield from _arguments(f"{where}: {name}", block, allowed[name])
