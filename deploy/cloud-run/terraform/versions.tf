terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source = "hashicorp/google"
      # 6.37 has gpu_zonal_redundancy_disabled.
      version = ">= 6.37, < 8.0"
    }
  }
  # The state holds Redis's password: keep it where only operators read.
  # backend "gcs" { bucket = "..." }
}

provider "google" {
  project = var.project
  region  = var.region
}
