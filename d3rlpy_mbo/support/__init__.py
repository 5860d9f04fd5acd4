"""What every wing leans on: errors, versions, files, devices."""
