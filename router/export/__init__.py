"""The allow-list compiled for other fences: the kernel's packet filter, systemd, Kubernetes. Pure: texts come out."""
