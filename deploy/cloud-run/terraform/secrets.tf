# The values of keys and operator-token are put in by hand (../../README.md); Terraform never sees them.
resource "google_secret_manager_secret" "warmcut" {
  for_each  = toset(["warmcut-keys", "warmcut-operator-token", "warmcut-redis"])
  secret_id = each.key
  replication {
    auto {}
  }
  depends_on = [google_project_service.used]
}

# Redis's address is a secret for the password in it.
resource "google_secret_manager_secret_version" "redis" {
  secret      = google_secret_manager_secret.warmcut["warmcut-redis"].id
  secret_data = "redis://:${google_redis_instance.warmcut.auth_string}@${google_redis_instance.warmcut.host}:${google_redis_instance.warmcut.port}"
}

resource "google_secret_manager_secret_iam_member" "gateway" {
  for_each  = google_secret_manager_secret.warmcut
  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.gateway.member
}

# The worker meets no shopper and no operator.
resource "google_secret_manager_secret_iam_member" "worker" {
  secret_id = google_secret_manager_secret.warmcut["warmcut-redis"].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.worker.member
}
