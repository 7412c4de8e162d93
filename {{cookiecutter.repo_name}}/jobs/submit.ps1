# Send a job to the cluster: jobs/submit.ps1 <job> [key=value …] [--dry-run | --check | --wait]
$ErrorActionPreference = 'Stop'
Set-Location (Split-Path -Parent $PSScriptRoot)

# Windows PowerShell loses the quotes in what it hands to a program; PowerShell 7.3 and later do not.
$words = @($args)
if ($PSVersionTable.PSVersion -lt '7.3') { $words = @($words -replace '(\\*)"', '$1$1\"') }

# `make jobs` makes the first, with the orchestrator's client; the second can print jobs, if not send them.
foreach ($folder in '.venv-jobs', '.venv') {
    $python = Join-Path $folder 'Scripts/python.exe'
    if (Test-Path $python) {
        & $python jobs/submit.py @words
        exit $LASTEXITCODE
    }
}
[Console]::Error.WriteLine("jobs/submit.ps1: there is no environment to run it in: run 'make jobs' first")
exit 1
