"""What must not break: kills, damaged files, full disks; each a command with its record."""
