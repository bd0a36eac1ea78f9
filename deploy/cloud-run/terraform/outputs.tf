output "gateway" {
  description = "Where the gateway answers until a domain points to it"
  value       = google_cloud_run_v2_service.gateway.uri
}

output "bucket" {
  value = google_storage_bucket.store.name
}
