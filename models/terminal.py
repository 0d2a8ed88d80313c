"""What a command prints for people: commands to copy, and characters that the output may lack."""

import io
import os
import shlex
import subprocess
import sys

WINDOWS = os.name == "nt"
_SPECIAL = frozenset("&|<>^()")  # of cmd.exe, outside double quotes


def shell_words(*words: str) -> str:
    """The words of a command as they can be copied to a shell of this system: on Windows cmd.exe, which has no single
    quotes, else a POSIX shell."""
    return " ".join(map(_windows_word, words)) if WINDOWS else shlex.join(words)


def _windows_word(word: str) -> str:
    quoted = subprocess.list2cmdline([word])
    return f'"{quoted}"' if quoted == word and _SPECIAL & set(word) else quoted


def accept_all_characters() -> None:
    """Let stdout write "?" for a character that its encoding lacks. Every command begins with it.

    A log file on Windows has the machine's code page, which lacks "→" and the letters of most file names: they must not
    end a run. stderr writes an escape by itself.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
