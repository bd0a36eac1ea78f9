"""What deploy files may name: the binary and the sources say most of it."""

import re
import subprocess
from functools import lru_cache

# Values of labels, where they are few.
LABEL_VALUES = {
    "warmcut_previews_total": {"outcome": {"made", "skipped", "failed", "late"}},
    "warmcut_wakes_total": {"outcome": {"sent", "alive", "failed", "stalled", "refused"}},
    "warmcut_workers": {"state": {"wanted", "alive", "ready"}},
    "warmcut_budget_left": {"kind": {"wakes", "gpu_seconds"}},
}

# What GET /v1/demand of a gateway answers with, where KEDA may look.
DEMAND = {
    "wanted", "workers", "ready", "waiting_sessions", "waiting_jobs", "queue_seconds", "budget_left.wakes",
    "budget_left.gpu_seconds",
}

# Variables without our prefix that our processes read. The store's credentials come as a whole secret.
FOREIGN_ENVIRONMENT = {"PORT", "RUST_LOG"}

COMMANDS = ("serve", "gateway", "worker")
UNBOUNDED = set()


def flags(binary):
    """Each command's flags, without their dashes."""
    return {command: _told(binary, command) for command in COMMANDS}


def all_flags(binary):
    """Every flag of every command, for prose that says no command."""
    others = set().union(*(_told(binary, command) for command in ("cutout", "load", "doctor")))
    return others.union(*flags(binary).values())


@lru_cache
def _told(binary, command):
    done = subprocess.run([binary, command, "--help"], text=True, capture_output=True, timeout=20)
    done.check_returncode()
    return set(re.findall(r"^\s+(?:-\w, )?--([a-z][a-z0-9-]*)", done.stdout, re.MULTILINE))


def metrics(root):
    """Each metric with its labels, and the names of those that are histograms."""
    known, histograms = {}, set()
    for path in sorted((root / "src").rglob("*.rs")):
        text = path.read_text()
        for kind, name, labels in re.findall(
            r'\b(counter|gauge|histogram)!\(\s*"(warmcut_\w+)"((?:\s*,\s*"\w+"\s*=>[^,;]*?)*)\s*,?\s*\)', text
        ):
            known.setdefault(name, {}).update({label: UNBOUNDED for label in re.findall(r'"(\w+)"\s*=>', labels)})
            if kind == "histogram":
                histograms.add(name)
    for name, labels in LABEL_VALUES.items():
        known.setdefault(name, {}).update(labels)
    return known, histograms
