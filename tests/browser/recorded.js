// Written by record.js from a real server: not by hand.

export const recorded = /** @type {const} */ ({
  "warming": [
    {
      "type": "session",
      "session": "s_1",
      "token": "s_1.secret",
      "expires_in_ms": 1800000,
      "resumed": false,
      "limits": {
        "max_upload_bytes": 25000000,
        "max_pixels": 50000000,
        "accepts": [
          "image/jpeg",
          "image/png",
          "image/webp"
        ]
      },
      "models": [
        "u2netp"
      ],
      "at_ms": 1700000000000
    },
    {
      "type": "stage",
      "run": "r_2",
      "stage": "container",
      "status": "started",
      "device": "cpu",
      "elapsed_ms": 0,
      "progress": null,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": null,
      "at_ms": 1700000000000,
      "id": "1.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_2",
      "stage": "container",
      "status": "done",
      "device": "cpu",
      "elapsed_ms": 0,
      "progress": 1,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": "the process was already running",
      "at_ms": 1700000000000,
      "id": "2.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_2",
      "stage": "model_load",
      "status": "started",
      "device": "cpu",
      "elapsed_ms": 0,
      "progress": null,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": null,
      "at_ms": 1700000000000,
      "id": "3.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_2",
      "stage": "model_load",
      "status": "progress",
      "device": "cpu",
      "elapsed_ms": 3,
      "progress": 0.0015922025,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": "placed 7168 of 4501940 bytes",
      "at_ms": 1700000000003,
      "id": "4.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_2",
      "stage": "model_load",
      "status": "done",
      "device": "cpu",
      "elapsed_ms": 67,
      "progress": 1,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": "19530752 bytes of weights",
      "at_ms": 1700000000067,
      "id": "5.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_2",
      "stage": "gpu_ready",
      "status": "started",
      "device": "cpu",
      "elapsed_ms": 0,
      "progress": null,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": null,
      "at_ms": 1700000000067,
      "id": "6.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_2",
      "stage": "gpu_ready",
      "status": "progress",
      "device": "cpu",
      "elapsed_ms": 4,
      "progress": null,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": "device chosen: AMD EPYC, 2 threads, avx2",
      "at_ms": 1700000000071,
      "id": "7.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_2",
      "stage": "gpu_ready",
      "status": "done",
      "device": "cpu",
      "elapsed_ms": 422,
      "progress": 1,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": "device chosen: AMD EPYC, 2 threads, avx2; the known photo gave the known answer",
      "at_ms": 1700000000489,
      "id": "8.0.epoch"
    },
    {
      "type": "ready",
      "run": "r_2",
      "cold": true,
      "total_ms": 489,
      "model": "u2netp",
      "device": "cpu",
      "at_ms": 1700000000489,
      "id": "9.0.epoch"
    }
  ],
  "photo": [
    {
      "type": "upload",
      "upload": "u_photo",
      "job": null,
      "status": "accepted",
      "received_bytes": 0,
      "total_bytes": 33069,
      "at_ms": 1700000000000,
      "id": "9.1.epoch"
    },
    {
      "type": "upload",
      "upload": "u_photo",
      "job": "j_3",
      "status": "received",
      "received_bytes": 33069,
      "total_bytes": 33069,
      "at_ms": 1700000000005,
      "id": "9.2.epoch"
    },
    {
      "type": "job",
      "job": "j_3",
      "upload": "u_photo",
      "status": "processing",
      "position": null,
      "eta_ms": null,
      "step": "decode",
      "progress": 0,
      "at_ms": 1700000000005,
      "id": "9.3.epoch"
    },
    {
      "type": "job",
      "job": "j_3",
      "upload": "u_photo",
      "status": "processing",
      "position": null,
      "eta_ms": null,
      "step": "infer",
      "progress": 0.25,
      "at_ms": 1700000000020,
      "id": "9.4.epoch"
    },
    {
      "type": "job",
      "job": "j_3",
      "upload": "u_photo",
      "status": "processing",
      "position": null,
      "eta_ms": null,
      "step": "compose",
      "progress": 0.5,
      "at_ms": 1700000000292,
      "id": "9.5.epoch"
    },
    {
      "type": "job",
      "job": "j_3",
      "upload": "u_photo",
      "status": "processing",
      "position": null,
      "eta_ms": null,
      "step": "encode",
      "progress": 0.75,
      "at_ms": 1700000000293,
      "id": "9.6.epoch"
    },
    {
      "type": "cutout",
      "job": "j_3",
      "id_cutout": "c_4",
      "url": "/v1/sessions/s_1/jobs/j_3/cutout",
      "lasting_url": "/v1/cutouts/c_4?expires=1700086400000&signature=secret",
      "mime": "image/png",
      "width": 451,
      "height": 300,
      "bytes": 214369,
      "model": "u2netp",
      "cached": false,
      "degraded": false,
      "delivery": "inline",
      "timings_ms": {
        "upload": 5,
        "queue": 0,
        "decode": 13,
        "infer": 271,
        "compose": 1,
        "encode": 38,
        "total": 331
      },
      "notes": [],
      "at_ms": 1700000000332,
      "id": "9.7.epoch"
    },
    {
      "type": "job",
      "job": "j_3",
      "upload": "u_photo",
      "status": "succeeded",
      "position": null,
      "eta_ms": null,
      "step": null,
      "progress": 1,
      "at_ms": 1700000000332,
      "id": "9.8.epoch"
    }
  ],
  "broken": [
    {
      "type": "upload",
      "upload": "u_broken",
      "job": null,
      "status": "accepted",
      "received_bytes": 0,
      "total_bytes": 3000,
      "at_ms": 1700000000000,
      "id": "9.9.epoch"
    },
    {
      "type": "upload",
      "upload": "u_broken",
      "job": "j_5",
      "status": "received",
      "received_bytes": 3000,
      "total_bytes": 3000,
      "at_ms": 1700000000010,
      "id": "9.10.epoch"
    },
    {
      "type": "job",
      "job": "j_5",
      "upload": "u_broken",
      "status": "processing",
      "position": null,
      "eta_ms": null,
      "step": "decode",
      "progress": 0,
      "at_ms": 1700000000010,
      "id": "9.11.epoch"
    },
    {
      "type": "problem",
      "code": "corrupt_image",
      "message": "the JPEG is damaged or cut off (it ends before its end marker): send it again, or save it anew",
      "retryable": false,
      "upload": "u_broken",
      "job": "j_5",
      "at_ms": 1700000000011,
      "id": "9.12.epoch"
    },
    {
      "type": "job",
      "job": "j_5",
      "upload": "u_broken",
      "status": "failed",
      "position": null,
      "eta_ms": null,
      "step": null,
      "progress": null,
      "at_ms": 1700000000011,
      "id": "9.13.epoch"
    }
  ],
  "refused": [
    {
      "type": "upload",
      "upload": "u_refused",
      "job": null,
      "status": "accepted",
      "received_bytes": 0,
      "total_bytes": 20,
      "at_ms": 1700000000000,
      "id": "9.14.epoch"
    },
    {
      "type": "problem",
      "code": "unsupported_media_type",
      "message": "this looks like no image that we know: send a JPEG, PNG or WebP photo",
      "retryable": false,
      "upload": "u_refused",
      "at_ms": 1700000000000,
      "id": "9.15.epoch"
    },
    {
      "type": "upload",
      "upload": "u_refused",
      "job": null,
      "status": "rejected",
      "received_bytes": 20,
      "total_bytes": 20,
      "at_ms": 1700000000000,
      "id": "9.16.epoch"
    }
  ],
  "estimated": [
    {
      "type": "session",
      "session": "s_6",
      "token": "s_6.secret",
      "expires_in_ms": 1800000,
      "resumed": false,
      "limits": {
        "max_upload_bytes": 25000000,
        "max_pixels": 50000000,
        "accepts": [
          "image/jpeg",
          "image/png",
          "image/webp"
        ]
      },
      "models": [
        "u2netp"
      ],
      "at_ms": 1700000000000
    },
    {
      "type": "stage",
      "run": "r_7",
      "stage": "container",
      "status": "started",
      "device": "cpu",
      "elapsed_ms": 0,
      "progress": null,
      "eta_ms": null,
      "run_eta_ms": {
        "p50": 383,
        "p90": 489
      },
      "detail": null,
      "at_ms": 1700000000000,
      "id": "1.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_7",
      "stage": "container",
      "status": "done",
      "device": "cpu",
      "elapsed_ms": 0,
      "progress": 1,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": "the process was already running",
      "at_ms": 1700000000000,
      "id": "2.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_7",
      "stage": "model_load",
      "status": "started",
      "device": "cpu",
      "elapsed_ms": 0,
      "progress": null,
      "eta_ms": {
        "p50": 63,
        "p90": 78
      },
      "run_eta_ms": {
        "p50": 383,
        "p90": 489
      },
      "detail": null,
      "at_ms": 1700000000000,
      "id": "3.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_7",
      "stage": "model_load",
      "status": "progress",
      "device": "cpu",
      "elapsed_ms": 7,
      "progress": 0.75686485,
      "eta_ms": {
        "p50": 56,
        "p90": 71
      },
      "run_eta_ms": {
        "p50": 376,
        "p90": 482
      },
      "detail": "placed 3407360 of 4501940 bytes",
      "at_ms": 1700000000007,
      "id": "4.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_7",
      "stage": "model_load",
      "status": "done",
      "device": "cpu",
      "elapsed_ms": 40,
      "progress": 1,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": "19530752 bytes of weights",
      "at_ms": 1700000000040,
      "id": "5.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_7",
      "stage": "gpu_ready",
      "status": "started",
      "device": "cpu",
      "elapsed_ms": 0,
      "progress": null,
      "eta_ms": {
        "p50": 331,
        "p90": 422
      },
      "run_eta_ms": {
        "p50": 343,
        "p90": 449
      },
      "detail": null,
      "at_ms": 1700000000040,
      "id": "6.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_7",
      "stage": "gpu_ready",
      "status": "progress",
      "device": "cpu",
      "elapsed_ms": 1,
      "progress": null,
      "eta_ms": {
        "p50": 330,
        "p90": 421
      },
      "run_eta_ms": {
        "p50": 342,
        "p90": 448
      },
      "detail": "device chosen: AMD EPYC, 2 threads, avx2",
      "at_ms": 1700000000041,
      "id": "7.0.epoch"
    },
    {
      "type": "stage",
      "run": "r_7",
      "stage": "gpu_ready",
      "status": "done",
      "device": "cpu",
      "elapsed_ms": 253,
      "progress": 1,
      "eta_ms": null,
      "run_eta_ms": null,
      "detail": "device chosen: AMD EPYC, 2 threads, avx2; the known photo gave the known answer",
      "at_ms": 1700000000293,
      "id": "8.0.epoch"
    },
    {
      "type": "ready",
      "run": "r_7",
      "cold": true,
      "total_ms": 293,
      "model": "u2netp",
      "device": "cpu",
      "at_ms": 1700000000293,
      "id": "9.0.epoch"
    }
  ]
});
