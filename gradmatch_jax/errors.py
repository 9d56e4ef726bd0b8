"""The one exception for input that a user can mend."""


class UserError(ValueError):
    """Bad input. The message is one line and says what to do; the command exits with status 2."""
