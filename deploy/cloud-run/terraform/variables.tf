variable "project" {
  type        = string
  description = "The Google Cloud project's id"
}

variable "region" {
  type        = string
  default     = "europe-west4"
  description = "A region where Cloud Run has nvidia-l4"
}

variable "image" {
  type        = string
  description = "The gateway's image, with its tag or digest"
}

variable "worker_image" {
  type        = string
  description = "The worker's image, with its tag or digest"
}

variable "public_url" {
  type        = string
  description = "The origin that shoppers see, such as https://cut.example"
}

variable "max_gateways" {
  type    = number
  default = 10
}

variable "max_workers" {
  type        = number
  default     = 3
  description = "GPU workers at once, at most; needs as much quota"
}

variable "budget_wakes" {
  type        = number
  default     = 200
  description = "Wakes a day"
}

variable "budget_gpu" {
  type        = string
  default     = "4h"
  description = "GPU time a day"
}

variable "keep_days" {
  type        = number
  default     = 2
  description = "Photos and cutouts are gone from the bucket after so many days; longer than --keep"
}
