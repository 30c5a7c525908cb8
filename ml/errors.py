"""The one error the training reports to its user: a stable code and a sentence."""


class TrainingError(Exception):
    """Something the user can act on; the command prints `CODE: message` and exits with 1."""

    def __init__(self, code: str, message: str) -> None:
        """`code` is stable and listed in ml/README.md; `message` says where, what and what to do."""
        super().__init__(f"{code}: {message}")
        self.code = code
