# Photos and cutouts. Nothing in it is kept: orders fetch theirs within --keep.
resource "google_storage_bucket" "store" {
  name                        = "${var.project}-warmcut"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  lifecycle_rule {
    condition {
      age = var.keep_days
    }
    action {
      type = "Delete"
    }
  }

  # What parts of an upload that broke off are left.
  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  # A shopper's photo that is deleted is gone.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  depends_on = [google_project_service.used]
}

resource "google_storage_bucket_iam_member" "store" {
  for_each = {
    gateway = google_service_account.gateway.member
    worker  = google_service_account.worker.member
  }
  bucket = google_storage_bucket.store.name
  role   = "roles/storage.objectUser"
  member = each.value
}
