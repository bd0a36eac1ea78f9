"""Alerts: the metrics exist, each fires when it should and not just below, each has its place in the runbook."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

import known

RULES = "deploy/alerts.yaml"
# Prometheus's own.
FOREIGN = {"up": {"job", "instance"}}
EVERYWHERE = {"le", "job", "instance"}

GATEWAY = 'job="warmcut-gateway",instance="a"'


def _jobs(slow_bound, count=60):
    """So many jobs in 10 minutes, each of which took between the bucket below `slow_bound` and it."""
    bounds = [0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 180]
    steps = f"0+{count / 10}x60"
    series = {f'warmcut_job_seconds_bucket{{le="{of}"}}': steps if of >= slow_bound else "0x60" for of in bounds}
    return series | {'warmcut_job_seconds_bucket{le="+Inf"}': steps, "warmcut_job_seconds_count": steps}


def _failures(failed, of):
    return {
        'warmcut_jobs_total{status="failed"}': f"0+{failed}x60",
        'warmcut_jobs_total{status="succeeded"}': f"0+{of - failed}x60",
    }


def _workers(wanted, alive, ready):
    told = {"wanted": wanted, "alive": alive, "ready": ready}
    return {f'warmcut_workers{{state="{state}",{GATEWAY}}}': f"{n}x60" for state, n in told.items()}


# For each alert: what lets it fire, and what is just not enough. Values a minute; looked at after 20 minutes.
STORIES = {
    "WarmcutDown": ({f"up{{{GATEWAY}}}": "0x60"}, {f"up{{{GATEWAY}}}": "1x60", 'up{job="other"}': "0x60"}),
    "WarmcutResponseSlow": (_jobs(20), _jobs(10)),
    "WarmcutResponseVerySlow": (_jobs(45), _jobs(30)),
    "WarmcutErrors": (_failures(2, 100), _failures(1, 101)),
    "WarmcutErrorsHigh": (_failures(6, 100), _failures(4, 100)),
    "WarmcutWorkersMany": (_workers(16, 16, 16), _workers(15, 15, 15)),
    "WarmcutWorkersTooMany": (_workers(21, 21, 21), _workers(20, 20, 20)),
    "WarmcutQueueLong": ({"warmcut_jobs_waiting": "51x60"}, {"warmcut_jobs_waiting": "50x60"}),
    "WarmcutQueueVeryLong": ({"warmcut_jobs_waiting": "101x60"}, {"warmcut_jobs_waiting": "100x60"}),
    "WarmcutNotReady": (_workers(1, 1, 0), _workers(2, 2, 1)),
    "WarmcutModelNotReady": (
        {'warmcut_model_ready{instance="a"}': "0x60", 'warmcut_jobs_waiting{instance="a"}': "1x60"},
        # A gateway, whose own model is another matter.
        {f"warmcut_model_ready{{{GATEWAY}}}": "0x60", f"warmcut_jobs_waiting{{{GATEWAY}}}": "1x60"} | _workers(1, 1, 1),
    ),
    "WarmcutPreviewModelNotReady": (
        {f"warmcut_preview_model_ready{{{GATEWAY}}}": "0x60"}, {f"warmcut_preview_model_ready{{{GATEWAY}}}": "1x60"},
    ),
    "WarmcutWarmupsFailing": (
        {'warmcut_warmups_total{outcome="failed"}': "0x10 1 2x60"}, {'warmcut_warmups_total{outcome="ready"}': "0+1x60"},
    ),
    "WarmcutWakeFailing": (
        {'warmcut_wakes_total{outcome="stalled"}': "0x10 1 2x60"},
        {'warmcut_wakes_total{outcome="stalled"}': "0x10 1 2x60", 'warmcut_wakes_total{outcome="alive"}': "0x12 1x60"},
    ),
    "WarmcutBudgetSpent": (
        {'warmcut_budget_left{kind="wakes"}': "0x60", 'warmcut_budget_left{kind="gpu_seconds"}': "900x60"},
        {'warmcut_budget_left{kind="wakes"}': "1x60"},
    ),
    "WarmcutRedisUnreachable": ({f"warmcut_redis_up{{{GATEWAY}}}": "0x60"}, {f"warmcut_redis_up{{{GATEWAY}}}": "1x60"}),
    "WarmcutStoreFailing": ({"warmcut_store_errors_total": "0+2x60"}, {"warmcut_store_errors_total": "0+1x60"}),
    "WarmcutJobsRedelivered": (
        {"warmcut_jobs_redelivered_total": "0+1x60"}, {"warmcut_jobs_redelivered_total": "0x12 5x60"},
    ),
}


def _rules(root):
    groups = yaml.safe_load((root / RULES).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def names(root, binary):
    metrics, histograms = known.metrics(root)
    for rule in _rules(root):
        yield from _metrics(rule["alert"], rule["expr"], metrics, histograms)
    runbook = (root / "docs/runbook.md").read_text()
    headings = set(re.findall(r"^## (Warmcut\w+)$", runbook, re.M))
    alerts = [rule["alert"] for rule in _rules(root)]
    for alert in sorted(set(alerts) - headings):
        yield f"{alert} has no heading in docs/runbook.md"
    for heading in sorted(headings - set(alerts)):
        yield f"docs/runbook.md: {heading} is no alert"
    for alert in {alert for alert in alerts if alerts.count(alert) > 1}:
        yield f"{alert} is there twice"
    for rule in _rules(root):
        alert, severity = rule["alert"], (rule.get("labels") or {}).get("severity")
        if severity not in ("page", "warning"):
            yield f"{alert}: severity {severity} is neither page nor warning"
        elif f"## {alert}\n`{severity}`" not in runbook and alert in headings:
            yield f"docs/runbook.md: {alert} is a {severity}, and isn't called that"
        if (rule.get("annotations") or {}).get("runbook") != f"docs/runbook.md#{alert.lower()}":
            yield f"{alert}: its runbook's address is not docs/runbook.md#{alert.lower()}"
    for link in re.findall(r"\]\(#([\w-]+)\)", runbook):
        if link not in {heading.lower() for heading in headings}:
            yield f"docs/runbook.md: nothing is at #{link}"
    # Metrics that the prose names.
    for name in sorted(set(re.findall(r"`(warmcut_\w+)", runbook))):
        if name not in metrics:
            yield f"docs/runbook.md: there is no metric {name}"


def _metrics(alert, expression, metrics, histograms):
    for name, labels in re.findall(r"\b([a-z_:]+[a-z])\s*(?:\{([^}]*)\})?(?=[\s\[)=<>{]|$)", re.sub(r"\b(by|on) \([^)]*\)", "", expression)):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if not name.startswith("warmcut_"):
            if name in FOREIGN or name in ("and", "or", "unless", "absent", "sum", "max", "min", "rate", "increase"):
                continue
            yield f"{alert}: {name} is no metric"
            continue
        own = metrics.get(name) if name not in histograms else None
        if own is None and base != name and base in histograms:
            own = metrics[base]
        if own is None:
            yield f"{alert}: there is no metric {name}"
            continue
        for label, value in re.findall(r'(\w+)\s*=~?"([^"]*)"', labels):
            if label not in own and label not in EVERYWHERE:
                yield f"{alert}: {name} has no label {label}"
            for one in value.split("|") if own.get(label) else []:
                if one not in own[label]:
                    yield f"{alert}: {name} has no {label}={one}"


def promtool():
    """Beside the packages, where tests/run puts it, or wherever this machine has it."""
    return os.environ.get("PROMTOOL") or shutil.which("promtool")


def fire(root, binary):
    """Prometheus's own tool reads the rules, and plays each story against them."""
    tool = promtool()
    if not tool:
        yield "promtool is missing; tests/run brings it"
        return
    done = subprocess.run([tool, "check", "rules", root / RULES], text=True, capture_output=True, timeout=30)
    if done.returncode != 0:
        yield f"promtool: {(done.stdout + done.stderr).strip()[:400]}"
        return
    alerts = [rule["alert"] for rule in _rules(root)]
    for alert in sorted(set(alerts) ^ set(STORIES)):
        yield f"{alert}: a rule without a story in tests/deploy/alerts.py, or a story without a rule"
    tests = [test for fires in (1, 0) for test in _tests(root, fires)]
    # Evaluated once a minute, which is enough for stories of 20 and saves most of the time.
    slow = yaml.safe_load((root / RULES).read_text())
    for group in slow["groups"]:
        group["interval"] = "1m"
    with tempfile.TemporaryDirectory() as folder:
        file, rules = Path(folder) / "stories.yaml", Path(folder) / "rules.yaml"
        # JSON is YAML.
        rules.write_text(json.dumps(slow))
        file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
        done = subprocess.run([tool, "test", "rules", file], text=True, capture_output=True, timeout=60)
    if done.returncode != 0:
        yield f"promtool: {(done.stdout + done.stderr).strip()[:800]}"


def _tests(root, fires):
    """Stories told together, as long as none touches a metric that another one's rule looks at."""
    together = []
    for rule in _rules(root):
        if rule["alert"] not in STORIES:
            continue
        series = STORIES[rule["alert"]][1 - fires]
        touched = set(re.findall(r"\b(?:up\b|warmcut_\w+)", " ".join([rule["expr"], *series])))
        for test, taken in together:
            if not taken & touched:
                break
        else:
            test, taken = {"interval": "1m", "input_series": [], "promql_expr_test": []}, set()
            together.append((test, taken))
        taken |= touched
        test["input_series"] += [{"series": name, "values": values} for name, values in series.items()]
        test["promql_expr_test"].append(_looks(rule["alert"], fires))
    return [test for test, _ in together]


def _looks(alert, fires):
    return {
        # How often it fires may differ; that it does is the matter.
        "expr": f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})',
        "eval_time": "20m",
        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else [],
    }
