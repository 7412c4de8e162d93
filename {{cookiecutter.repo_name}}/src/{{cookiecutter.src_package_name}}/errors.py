"""The one exception that commands turn into a message."""


class Problem(Exception):
    """Something the person at the keyboard can put right; its text says what is wrong and what to do."""
