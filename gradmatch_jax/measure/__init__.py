"""What a record needs: seconds, joules, versions."""
