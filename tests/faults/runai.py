"""Faults of different kinds in Run:ai bodies: a job, what to change in what is sent, and into what."""

BROKEN = [
    ("train", "imagePullSecrets:", "imagePullSecret:"),
    ("train", "command: python", "command: [python]"),
    ("train", "projectId: '4500001'", "projectId: 4500001"),
    ("train", "name: my-ml-project-train", "title: my-ml-project-train"),
    ("train", "cpuCoreRequest: 2", "cpuCoreRequest: two"),
    ("train", "cpuCoreRequest: 2", "cpuCoreRequest: 16"),
    ("train", "cpuMemoryLimit: 8G", "cpuMemoryLimit: 8 gigabytes"),
    ("train", "  image: ", "  imagePullPolicy: Always #"),
    ("train", "compute:", "compute:\n    gpuPortionRequest: 0.5"),
    ("train", "restartPolicy: Never", "restartPolicy: Sometimes"),
    ("train", "claimName:", "claim:"),
    ("serve", "protocol: http", "protocol: https"),
    ("serve", "servingPort:", "servingPort:\n    port: 8000"),
    ("workspace", "exposedUrls:", "completions: 4\n  exposedUrls:"),
]
