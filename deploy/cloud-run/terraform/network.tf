# Redis is reached over direct VPC egress: no connector that has to run and be paid for.
resource "google_compute_network" "warmcut" {
  name                    = "warmcut"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.used]
}

resource "google_compute_subnetwork" "warmcut" {
  name    = "warmcut"
  network = google_compute_network.warmcut.id
  region  = var.region
  # An instance takes an address, and keeps it for a while after it went: /26 is the least, this is plenty.
  ip_cidr_range            = "10.8.0.0/24"
  private_ip_google_access = true
}

resource "google_redis_instance" "warmcut" {
  name = "warmcut"
  # A single primary; the second copy takes over when its zone fails.
  tier               = "STANDARD_HA"
  memory_size_gb     = 1
  region             = var.region
  redis_version      = "REDIS_7_2"
  authorized_network = google_compute_network.warmcut.id
  auth_enabled       = true
  redis_configs = {
    # Full, Redis must say so: what it threw away would be events that a shopper still waits for.
    maxmemory-policy = "noeviction"
  }
}
