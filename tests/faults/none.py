"""Faults of different kinds in Kubernetes manifests: a job, what to change in what is sent, and into what."""

BROKEN = [
    ("train", "envFrom:", "envForm:"),
    ("train", "apiVersion: batch/v1", "apiVersion: batch/v1beta1"),
    ("train", "backoffLimit: 1", "backoffLimit: one"),
    ("train", "memory: 8Gi", "memory: 8GiB"),
    ("train", "cpu: '2'", "cpu: '16'"),
    ("train", "restartPolicy: Never", "restartPolicy: Always"),
    ("train", "mountPath: /tmp", "mountPath: /tmp\n        - name: nowhere\n          mountPath: /nowhere"),
    ("train", "generateName: ", "generateName: Not_A_Name-"),
    ("train", "image: ", "imagePullPolicy: Always #"),
    ("train", "secretRef:", "secretKeyRef:"),
    ("tune", "completionMode: Indexed", "completionModes: Indexed"),
    ("serve", "matchLabels:", "matchLabels:\n      tier: none"),
    ("serve", "targetPort: http", "targetPort: https"),
    ("serve", "port: http", "port: web"),
    ("workspace", "serviceName:", "service:"),
]
