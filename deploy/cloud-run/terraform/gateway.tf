# The gateway: holds every shopper's channel, takes the photos, wakes the worker. ../gateway.yaml gives the
# reasons for each number.
resource "google_cloud_run_v2_service" "gateway" {
  name                = "warmcut-gateway"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = false

  template {
    service_account                  = google_service_account.gateway.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "3600s"
    max_instance_request_concurrency = 1000
    session_affinity                 = true

    scaling {
      min_instance_count = 1
      max_instance_count = var.max_gateways
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = google_compute_network.warmcut.name
        subnetwork = google_compute_subnetwork.warmcut.name
      }
    }

    containers {
      name  = "gateway"
      image = var.image
      args  = ["gateway"]

      ports {
        name           = "http1"
        container_port = 8080
      }

      env {
        name = "WARMCUT_REDIS"
        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.warmcut["warmcut-redis"].secret_id
            version = "latest"
          }
        }
      }
      env {
        name  = "WARMCUT_STORE"
        value = "gs://${google_storage_bucket.store.name}/warmcut"
      }
      env {
        name  = "WARMCUT_WAKE"
        value = "${google_cloud_run_v2_service.worker.uri}/wake"
      }
      env {
        name  = "WARMCUT_WAKE_AUTH"
        value = "google"
      }
      env {
        name  = "WARMCUT_WAKE_HOLD"
        value = "50m"
      }
      env {
        name  = "WARMCUT_MAX_WORKERS"
        value = tostring(var.max_workers)
      }
      env {
        name  = "WARMCUT_BUDGET_WAKES"
        value = tostring(var.budget_wakes)
      }
      env {
        name  = "WARMCUT_BUDGET_GPU"
        value = var.budget_gpu
      }
      env {
        name  = "WARMCUT_KEYS"
        value = "/keys/keys.json"
      }
      env {
        name = "WARMCUT_OPERATOR_TOKEN"
        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.warmcut["warmcut-operator-token"].secret_id
            version = "latest"
          }
        }
      }
      env {
        name  = "WARMCUT_PUBLIC_URL"
        value = var.public_url
      }
      env {
        name  = "WARMCUT_PROXIES"
        value = "1"
      }
      env {
        name  = "WARMCUT_UPLOAD_DISK"
        value = "0"
      }
      env {
        name  = "WARMCUT_LOG_FORMAT"
        value = "json"
      }

      resources {
        limits = {
          cpu    = "2"
          memory = "1Gi"
        }
        cpu_idle          = false
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 30
        http_get {
          path = "/livez"
          port = 8080
        }
      }
      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 3
        failure_threshold = 3
        http_get {
          path = "/livez"
          port = 8080
        }
      }

      volume_mounts {
        name       = "keys"
        mount_path = "/keys"
      }
    }

    volumes {
      name = "keys"
      secret {
        secret = google_secret_manager_secret.warmcut["warmcut-keys"].secret_id
        items {
          version = "latest"
          path    = "keys.json"
        }
      }
    }
  }

  # An instance that may not read a secret doesn't start.
  depends_on = [
    google_secret_manager_secret_iam_member.gateway,
    google_secret_manager_secret_version.redis,
    google_storage_bucket_iam_member.store,
  ]
}

# Shoppers have no Google account; keys and origins say who may.
resource "google_cloud_run_v2_service_iam_member" "shoppers" {
  name     = google_cloud_run_v2_service.gateway.name
  location = google_cloud_run_v2_service.gateway.location
  role     = "roles/run.invoker"
  member   = "allUsers"
}
