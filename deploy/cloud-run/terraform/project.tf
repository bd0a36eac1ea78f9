resource "google_project_service" "used" {
  for_each           = toset(["compute", "iam", "redis", "run", "secretmanager", "storage"])
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_service_account" "gateway" {
  account_id   = "warmcut-gateway"
  display_name = "warmcut gateway"
  depends_on   = [google_project_service.used]
}

resource "google_service_account" "worker" {
  account_id   = "warmcut-worker"
  display_name = "warmcut GPU worker"
  depends_on   = [google_project_service.used]
}
