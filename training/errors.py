"""The one exception whose text is meant for the user."""


class UserError(Exception):
    """A mistake the user can mend: one clear sentence saying what is wrong, where, what was expected, what to do.

    Scripts print it without a traceback and exit with status 2; nothing finished is lost.
    """
