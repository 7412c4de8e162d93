# Send a job to the cluster: jobs/submit.ps1 <job> [key=value …] [--dry-run]
$ErrorActionPreference = 'Stop'
Set-Location (Split-Path -Parent $PSScriptRoot)

# `make jobs` makes the first, with the orchestrator's client; the second can print jobs, if not send them.
foreach ($folder in '.venv-jobs', '.venv') {
    $python = Join-Path $folder 'Scripts/python.exe'
    if (Test-Path $python) {
        & $python jobs/submit.py @args
        exit $LASTEXITCODE
    }
}
[Console]::Error.WriteLine("jobs/submit.ps1: there is no environment to run it in: run 'make jobs' first")
exit 1
