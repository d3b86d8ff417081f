"""The HTTP port for operators: /metrics, /healthz, /readyz and /status.json. Read only, and no part of delivery."""
