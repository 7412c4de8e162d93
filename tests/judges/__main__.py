"""Judge the specs on standard input: python -m judges <orchestrator>."""

import importlib
import json
import sys

judge = importlib.import_module(f"judges.{sys.argv[1]}").judge
json.dump([dict(zip(("faults", "asks"), judge(text), strict=True)) for text in json.load(sys.stdin)], sys.stdout)
