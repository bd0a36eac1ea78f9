# The GPU worker: none while nobody wants one. ../worker.yaml gives the reasons for each number.
resource "google_cloud_run_v2_service" "worker" {
  name                = "warmcut-worker"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = false

  template {
    service_account                  = google_service_account.worker.email
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "3600s"
    max_instance_request_concurrency = 1
    gpu_zonal_redundancy_disabled    = true

    scaling {
      min_instance_count = 0
      max_instance_count = var.max_workers
    }

    node_selector {
      accelerator = "nvidia-l4"
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = google_compute_network.warmcut.name
        subnetwork = google_compute_subnetwork.warmcut.name
      }
    }

    containers {
      name  = "worker"
      image = var.worker_image
      args  = ["worker"]

      ports {
        name           = "http1"
        container_port = 8080
      }

      env {
        name  = "WARMCUT_LISTEN"
        value = "0.0.0.0:8080"
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
        name  = "WARMCUT_IDLE"
        value = "5m"
      }
      env {
        name  = "WARMCUT_DEVICE"
        value = "cuda:0"
      }
      env {
        name  = "WARMCUT_WORKERS"
        value = "4"
      }

      resources {
        limits = {
          cpu              = "4"
          memory           = "16Gi"
          "nvidia.com/gpu" = "1"
        }
        cpu_idle          = false
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 120
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
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.worker,
    google_secret_manager_secret_version.redis,
    google_storage_bucket_iam_member.store,
  ]
}

# Nobody else may start a GPU.
resource "google_cloud_run_v2_service_iam_member" "gateway_wakes" {
  name     = google_cloud_run_v2_service.worker.name
  location = google_cloud_run_v2_service.worker.location
  role     = "roles/run.invoker"
  member   = google_service_account.gateway.member
}
