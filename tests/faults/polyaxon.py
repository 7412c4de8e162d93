"""Faults of different kinds in polyaxonfiles: a job, what to change in what is sent, and into what."""

BROKEN = [
    ("train", "kind: component", "kind: compnent"),
    ("train", "plugins:", "plugin:"),
    ("train", "kind: job", "kind: jobs"),
    ("train", "envFrom:", "envForm:"),
    ("train", "secretRef:", "secretKeyRef:"),
    ("train", "claimName:", "claim:"),
    ("train", "memory: 8Gi", "memory: 8GiB"),
    ("train", "cpu: '2'", "cpu: '16'"),
    ("train", "mountPath: /tmp", "mountPath: /tmp\n    - name: nowhere\n      mountPath: /nowhere"),
    ("train", "- python\n", "- '{{ python }}'\n"),
    ("train", "timeout: 14400", "timeout: soon"),
    ("tune", "kind: mapping", "kind: map"),
    ("tune", "- worker: 3", "- wroker: 3"),
    ("serve", "ports:\n  - 8000", "ports:\n  - http"),
]
