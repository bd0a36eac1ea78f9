"""Mistakes to plant, and what must be said of each: a check that never complains would pass too."""

from dataclasses import dataclass


@dataclass
class Mistake:
    check: str
    name: str
    file: str
    before: str
    after: str
    complaint: str


def _of(check, *mistakes):
    return [Mistake(check, *mistake) for mistake in mistakes]


CLOUD = "deploy/cloud-run/"
TERRAFORM = CLOUD + "terraform/"
CLUSTER = "deploy/kubernetes/"

MISTAKES = [
    *_of(
        "Cloud Run",
        ("a misspelt annotation", CLOUD + "gateway.yaml", "startup-cpu-boost", "startup-boost", "startup-boost"),
        ("a request for longer than there is", CLOUD + "gateway.yaml", "timeoutSeconds: 3600", "timeoutSeconds: 7200", "3600"),
        ("a GPU with too little memory", CLOUD + "worker.yaml", "memory: 16Gi", "memory: 8Gi", "8Gi"),
        ("a GPU with a throttled processor", CLOUD + "worker.yaml", "cpu-throttling: 'false'", "cpu-throttling: 'true'", "cpu-throttling"),
        ("no GPU for its node", CLOUD + "worker.yaml", "nvidia.com/gpu: '1'", "ephemeral-storage: 1Gi", "nvidia.com/gpu"),
        ("wakes that share an instance", CLOUD + "worker.yaml", "containerConcurrency: 1", "containerConcurrency: 80", "second wake"),
        ("a worker that never sleeps", CLOUD + "worker.yaml", "minScale: '0'", "minScale: '1'", "scale to zero"),
        ("a probe that waits for the model", CLOUD + "worker.yaml", "{path: /livez", "{path: /readyz", "a model that loads"),
        ("a field that no container has", CLOUD + "gateway.yaml", "mountPath: /keys", "mountpath: /keys", "mountpath"),
        ("a name that nobody fills in", CLOUD + "gateway.yaml", "${BUCKET}", "${BUKCET}", "BUKCET"),
        ("a port that is the platform's", CLOUD + "gateway.yaml", "- name: WARMCUT_REDIS", "- name: PORT", "PORT"),
    ),
    *_of(
        "Terraform",
        ("a reference to nothing", TERRAFORM + "gateway.tf", "google_cloud_run_v2_service.worker.uri", "google_cloud_run_v2_service.wroker.uri", "wroker is declared nowhere"),
        ("a variable of nobody", TERRAFORM + "worker.tf", "var.worker_image", "var.gpu_image", "var.gpu_image is declared nowhere"),
        ("a misspelt argument", TERRAFORM + "worker.tf", "gpu_zonal_redundancy_disabled", "gpu_zonal_redundancy", "no argument gpu_zonal_redundancy"),
        ("an attribute for a block", TERRAFORM + "worker.tf", "node_selector {", "node_selector = {", "node_selector must be a block"),
        ("a brace too few", TERRAFORM + "store.tf", "    action {", "    action", "does not parse"),
        ("a secret that isn't there", TERRAFORM + "secrets.tf", '.warmcut["warmcut-redis"].id', '.warmcut["warmcut-rdeis"].id', "has no warmcut-rdeis"),
        ("a worker for everybody", TERRAFORM + "worker.tf", "google_service_account.gateway.member", '"allUsers"', "only the gateway may"),
    ),
    *_of(
        "Kubernetes",
        ("a field that isn't there", CLUSTER + "base/gateway.yaml", "maxSurge: 1", "maxSurges: 1", "maxSurges"),
        ("a number for a text", CLUSTER + "keda/worker.yaml", "value: 1h", "value: 1", "string"),
        ("root", CLUSTER + "keda/worker.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
        ("a file system to write to", CLUSTER + "base/gateway.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "written to"),
        ("no bound on memory", CLUSTER + "redis/redis.yaml", "{cpu: '1', memory: 1Gi}", "{cpu: '1'}", "no limits of memory"),
        ("a probe that waits for the model", CLUSTER + "keda/worker.yaml", "path: /livez", "path: /readyz", "a model that loads"),
        ("a service of nothing", CLUSTER + "base/gateway.yaml", "  selector: {app.kubernetes.io/name: warmcut, app.kubernetes.io/component: gateway}", "  selector: {app.kubernetes.io/name: warmcat}", "Service warmcut-gateway selects nothing"),
        ("a policy for nothing", CLUSTER + "base/network.yaml", "app.kubernetes.io/name: redis", "app.kubernetes.io/name: valkey", "by a selector"),
        ("a file that is left out", CLUSTER + "keda/kustomization.yaml", "  - scale.yaml\n", "", "scale.yaml is not in it"),
        ("a file that isn't there", CLUSTER + "knative/kustomization.yaml", "../redis", "../valkey", "there is no ../valkey"),
        ("a scaler of nothing", CLUSTER + "keda/scale.yaml", "scaleTargetRef:\n    name: warmcut-worker", "scaleTargetRef:\n    name: worker", "no Deployment worker"),
        ("a demand that nobody tells", CLUSTER + "keda/scale.yaml", "valueLocation: wanted", "valueLocation: replicas", "/v1/demand has no replicas"),
        ("a demand elsewhere", CLUSTER + "keda/scale.yaml", "svc:8080", "svc:80", "no service of ours"),
        ("a misspelt setting of KEDA", CLUSTER + "keda/scale.yaml", "cooldownPeriod", "coolDownPeriod", "coolDownPeriod"),
        ("a request that Knative ends", CLUSTER + "knative/worker.yaml", "timeoutSeconds: 600", "timeoutSeconds: 3600", "600"),
        ("a field that Knative has not", CLUSTER + "knative/worker.yaml", "      containerConcurrency: 1", "      nodeSelector: {gpu: l4}", "nodeSelector"),
        ("a patch for nothing", CLUSTER + "knative/gateway.yaml", "- name: gateway", "- name: server", "a container server"),
        ("a secret that nobody makes", CLUSTER + "knative/worker.yaml", "name: warmcut-tokens", "name: warmcut-token", "secret warmcut-token is made"),
    ),
    *_of(
        "Render",
        ("two ways to a value", "deploy/render/render.yaml", "generateValue: true", "generateValue: true\n        sync: false", "is not valid under any"),
        ("a number for a text", "deploy/render/render.yaml", "value: '1'", "value: 1", "is not of type 'string'"),
        ("a health check that waits for the model", "deploy/render/render.yaml", "/livez\n", "/readyz\n", "/livez"),
        ("a Dockerfile elsewhere", "deploy/render/render.yaml", "./Dockerfile", "./docker/Dockerfile", "there is no ./docker/Dockerfile"),
    ),
    *_of(
        "compose",
        ("a host that isn't there", "deploy/compose.yaml", "redis://redis:6379", "redis://cache:6379", "names cache"),
        ("a volume of nobody", "deploy/compose.yaml", "  store:\n", "", "no volume store"),
        ("a volume of root's", "Dockerfile", "/store /store", "/store /stored", "/store is not the user's"),
        ("a port for everybody", "deploy/compose.yaml", "127.0.0.1:8080:8080", "8080:8080", "8080:8080"),
        ("a misspelt condition", "deploy/compose.yaml", "service_healthy", "healthy", "healthy"),
    ),
    *_of(
        "image",
        ("a build of its own", "Dockerfile", "deploy/build /warmcut", "cargo build --release", "by deploy/build alone"),
        ("a folder that doesn't get there", ".dockerignore", "!models\n", "", "keeps models"),
        ("a build without its script", "Dockerfile", " build.rs ./", " ./", "copy build.rs"),
        ("a folder that isn't copied", "Dockerfile", "COPY static static\n", "", "takes in ../static"),
        ("root", "Dockerfile", "USER 65532", "USER root", "must be a number"),
        ("what hadolint knows", "Dockerfile", "FROM rust:1-bookworm", "FROM rust:latest", "hadolint"),
        ("a build of its own, with CUDA", "deploy/cuda/Dockerfile", "deploy/cuda/build /warmcut", "deploy/build /warmcut", "by deploy/cuda/build alone"),
        ("root, with CUDA", "deploy/cuda/Dockerfile", "USER 65532", "USER root", "must be a number"),
        ("what ShellCheck knows of CUDA's packages", "deploy/cuda/toolkit", 'mkdir -p "$1"', "mkdir -p $1", "shellcheck"),
        ("what ShellCheck knows", "deploy/build", 'mkdir -p "$(dirname "$out")"', "mkdir -p $(dirname $out)", "shellcheck"),
    ),
    *_of(
        "flags and variables",
        ("a variable that isn't there", CLOUD + "gateway.yaml", "WARMCUT_WAKE_HOLD", "WARMCUT_HOLD_WAKE", "no WARMCUT_HOLD_WAKE"),
        ("a worker's in a gateway", CLUSTER + "base/gateway.yaml", "WARMCUT_PROXIES", "WARMCUT_IDLE", "gateway has no WARMCUT_IDLE"),
        ("a gateway's in a worker", TERRAFORM + "worker.tf", "WARMCUT_IDLE", "WARMCUT_WAKE", "worker has no WARMCUT_WAKE"),
        ("a gateway's in serve", "deploy/render/render.yaml", "WARMCUT_WARM", "WARMCUT_STORE", "serve has no WARMCUT_STORE"),
        ("a flag that isn't there", "deploy/compose.yaml", "command: [worker]", "command: [worker, --gpu=1]", "worker has no --gpu"),
        ("prose of a flag that isn't there", "docs/runbook.md", "`--budget-gpu`", "`--gpu-budget`", "--gpu-budget"),
    ),
    *_of(
        "values",
        ("more workers than instances", CLOUD + "gateway.yaml", "value: '3'", "value: '4'", "wants 4 workers"),
        ("more workers than KEDA gives", CLUSTER + "keda/scale.yaml", "maxReplicaCount: 3", "maxReplicaCount: 2", "KEDA: the gateway wants 3"),
        ("a wake that the platform ends", CLUSTER + "knative/gateway.yaml", "value: 9m", "value: 50m", "Knative: a wake is held"),
        ("YAML and Terraform that differ", TERRAFORM + "worker.tf", 'value = "5m"', 'value = "9m"', "WARMCUT_IDLE is 5m"),
    ),
    *_of(
        "Render's serve",
        ("a value that serve doesn't take", "deploy/render/render.yaml", "value: start", "value: always", "does not start"),
    ),
    *_of(
        "alerts' names",
        ("a metric that isn't there", "deploy/alerts.yaml", "warmcut_jobs_waiting", "warmcut_jobs_queued", "no metric warmcut_jobs_queued"),
        ("a histogram as it is", "deploy/alerts.yaml", "warmcut_job_seconds_bucket", "warmcut_job_seconds", "no metric warmcut_job_seconds"),
        ("a label that isn't there", "deploy/alerts.yaml", '{status="failed"}', '{state="failed"}', "no label state"),
        ("a label's value that isn't there", "deploy/alerts.yaml", "failed|stalled", "failed|timeout", "outcome=timeout"),
        ("an alert without its place in the runbook", "docs/runbook.md", "## WarmcutQueueLong", "## Queue long", "WarmcutQueueLong has no heading"),
        ("a place in the runbook without its alert", "deploy/alerts.yaml", "- alert: WarmcutDown", "- alert: WarmcutGone", "WarmcutDown is no alert"),
        ("a link to nothing", "docs/runbook.md", "(#warmcutnotready)", "(#notready)", "#notready"),
        ("a page that is called a warning", "docs/runbook.md", "## WarmcutDown\n`page`", "## WarmcutDown\n`warning`", "isn't called that"),
    ),
    *_of(
        "alerts' stories",
        ("an expression that doesn't parse", "deploy/alerts.yaml", "max(warmcut_jobs_waiting) > 50", "max(warmcut_jobs_waiting > 50", "promtool"),
        ("a bound that is another", "deploy/alerts.yaml", "max(warmcut_jobs_waiting) > 50", "max(warmcut_jobs_waiting) > 500", "got: nil"),
    ),
]
