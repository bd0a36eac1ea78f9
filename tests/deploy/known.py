"""What deploy files may name. The binary and the sources say most of it; what they don't say yet stands here, and here
alone, until `warmcut gateway --help` and `warmcut worker --help` and the sources do."""

import re
import subprocess
from functools import lru_cache

# Flags by command, beside what `warmcut COMMAND --help` of the given binary says. A gateway takes serve's as well.
PLANNED_FLAGS = {
    "serve": set(),
    "gateway": {
        "redis", "redis-prefix", "store", "wake", "wake-cmd", "wake-token", "wake-auth", "wake-hold", "wake-limit",
        "max-workers", "jobs-per-worker", "budget-wakes", "budget-gpu",
    },
    "worker": {"listen", "redis", "store", "idle", "wake-token"},
}

# Metrics with their labels and, where they are few, the labels' values; the gateway has them unless it is said.
PLANNED_METRICS = {
    "warmcut_wakes_total": {"outcome": {"sent", "alive", "failed", "stalled"}},
    "warmcut_workers": {"state": {"wanted", "alive", "ready"}},
    "warmcut_redis_up": {},  # the worker too
    "warmcut_redis_errors_total": {},  # the worker too
    "warmcut_store_errors_total": {},  # the worker too
    "warmcut_budget_left": {"kind": {"wakes", "gpu_seconds"}},
    "warmcut_jobs_redelivered_total": {},
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
    told = {command: _told(binary, command) for command in COMMANDS}
    known = {command: told[command] | PLANNED_FLAGS[command] for command in COMMANDS}
    known["gateway"] |= told["serve"]
    return known


def all_flags(binary):
    """Every flag of every command, for prose that says no command."""
    others = set().union(*(_told(binary, command) for command in ("cutout", "load", "doctor")))
    return others.union(*flags(binary).values())


@lru_cache
def _told(binary, command):
    done = subprocess.run([binary, command, "--help"], text=True, capture_output=True, timeout=20)
    # A command that this binary hasn't.
    if done.returncode != 0:
        return set()
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
    for name, labels in PLANNED_METRICS.items():
        known.setdefault(name, {}).update(labels)
    return known, histograms
