"""What strangers wrote, made fit to be looked at."""


def printable(text: str) -> str:
    """A text whose characters are all to be seen: those that a terminal obeys, or that turn the direction of writing
    round, are shown as escapes. Anybody may have sent anything.
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
