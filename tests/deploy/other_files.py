"""Render's blueprint, compose, and the image: the Dockerfile, what it copies and the script that it runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

from files import against, documents


def render(root, binary):
    document = documents(root / "deploy/render/render.yaml")[0]
    yield from against(root, "render.json", document, "deploy/render/render.yaml")
    for service in document.get("services") or []:
        for key in ("dockerfilePath", "dockerContext"):
            # From the repository's root.
            if not (root / service.get(key, ".")).exists():
                yield f"deploy/render/render.yaml: {key}: there is no {service[key]}"


def compose(root, binary):
    document = documents(root / "deploy/compose.yaml")[0]
    yield from against(root, "compose.json", document, "deploy/compose.yaml")
    services, volumes = document.get("services") or {}, document.get("volumes") or {}
    dockerfile = (root / "Dockerfile").read_text()
    for name, service in services.items():
        where = f"deploy/compose.yaml: {name}"
        for other in service.get("depends_on") or {}:
            if other not in services:
                yield f"{where}: depends on {other}, which isn't there"
        for volume in service.get("volumes") or []:
            source, target = volume.split(":")[:2]
            if source not in volumes:
                yield f"{where}: there is no volume {source}"
            # A fresh volume takes the owner of what it covers in the image.
            if "build" in service and not re.search(rf"COPY .*--chown=65532:65532 \S+ {re.escape(target)}$", dockerfile, re.M):
                yield f"{where}: {target} is not the user's in the image, so nothing could be written to it"
        for key, value in (service.get("environment") or {}).items():
            for host in re.findall(r"^(?:redis|https?)://([\w.-]+)", str(value)):
                if host not in services:
                    yield f"{where}: {key} names {host}, which isn't there"
        if "build" in service and not (root / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).exists():
            yield f"{where}: there is no {service['build']['dockerfile']}"


# Each image: its Dockerfile, and the script that builds its binary.
IMAGES = [("Dockerfile", "deploy/build"), ("deploy/cuda/Dockerfile", "deploy/cuda/build")]


def image(root, binary):
    for dockerfile, script in IMAGES:
        for complaint in _image(root, root / dockerfile, script):
            yield complaint if dockerfile == "Dockerfile" else f"{dockerfile}: {complaint}"
    # For machines without an image.
    yield from _scripts(root, "deploy/cuda/toolkit")


def _scripts(root, *scripts):
    tools = Path(sys.executable).parent
    for script in scripts:
        for command in ([tools / "shellcheck", root / script], ["bash", "-n", root / script]):
            yield from _said_by(command)
        if not (root / script).stat().st_mode & 0o100:
            yield f"{script} can't be run"


def _said_by(command):
    done = subprocess.run(command, text=True, capture_output=True, timeout=30)
    if done.returncode != 0:
        yield f"{Path(command[0]).name}: {(done.stdout + done.stderr).strip()[:400]}"


def _image(root, file, script):
    yield from _said_by([Path(sys.executable).parent / "hadolint", "--no-color", file])
    yield from _scripts(root, script)
    dockerfile = file.read_text().replace("\\\n", " ")
    if not re.search(rf"^RUN .*{script} /warmcut$", dockerfile, re.M) or re.search(r"^RUN .*cargo build", dockerfile, re.M):
        yield f"the Dockerfile does not build by {script} alone"
    copied = [
        source
        for line in re.findall(r"^COPY (?!.*--from)(.+)$", dockerfile, re.M)
        for source in [part for part in line.split() if not part.startswith("--")][:-1]
    ]
    ignored = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for source in copied:
        if not (root / source).exists():
            yield f"the Dockerfile copies {source}, which isn't there"
        if "*" not in ignored or not any(source == of or source.startswith(of + "/") for of in allowed):
            yield f".dockerignore keeps {source} from the Dockerfile"
    # Cargo takes it in without a word, and without one it goes on without.
    if "build.rs" not in copied:
        yield "the Dockerfile doesn't copy build.rs"
    # What the sources take into the binary must have been copied.
    for path in sorted((root / "src").rglob("*.rs")):
        text = path.read_text().split("#[cfg(test)]")[0]
        for name in re.findall(r'include_(?:bytes|str)!\("([^"]+)"\)', text):
            # By its words: the tree may be one of links.
            top = os.path.normpath(path.relative_to(root).parent / name).split(os.sep)[0]
            if top not in [*copied, "tests"]:
                yield f"{path.relative_to(root)} takes in {name}, which the Dockerfile doesn't copy"
    if not re.search(r"^USER [1-9]\d*$", dockerfile, re.M):
        yield "the Dockerfile's user must be a number, and not root's"
