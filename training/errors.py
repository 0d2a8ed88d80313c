"""The exceptions whose text is meant for the user."""

LONGEST_SENTENCE = 1500  # characters: a name or number of any length may stand in it


class UserError(Exception):
    """A mistake the user can mend: one clear sentence saying what is wrong, where, what was expected, what to do.

    Scripts print it without a traceback and exit with status 2; nothing finished is lost. File names and values stand
    in it as they came; what would break the line or steer a terminal is shown as an escape, such as a backslash and n.
    """

    def __init__(self, sentence: str):
        super().__init__(printable(sentence))


class Resumable(UserError):
    """What ends a run that can go on with `--resume`, from the first stage on: its directory is kept."""


class CannotWrite(Resumable):
    """A file that could not be written: once what stands in the way is gone, a run goes on with `--resume`."""


class OutOfMemory(Resumable):
    """Too little memory; the sentence says what was needed, what there was and what to set. A run can go on."""


def printable(text: str) -> str:
    """`text` on one line of bounded length, without control characters and halves of characters."""
    if len(text) > LONGEST_SENTENCE:
        text = f"{text[: LONGEST_SENTENCE // 2]} ... {text[-LONGEST_SENTENCE // 2 :]}"
    shown = (letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return "".join(shown)
