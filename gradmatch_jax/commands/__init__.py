"""The subcommands of `gradmatch-jax`, one file each."""
