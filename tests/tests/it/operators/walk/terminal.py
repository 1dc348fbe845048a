"""Runs a program in a terminal of its own, and gives the answer to each question that is not the default one:

    terminal.py PROGRAM [ARGUMENT ..]

Prints what the program prints, and exits with its status.
"""

import os
import pty
import sys
import threading

ANSWERS = {b"(y/N)": b"y\r", b"(Y/n)": b"n\r"}
# With this, a program asks where the cursor is: twice after a question, before it reads the answer.
POSITION = b"\x1b[6n"
QUERIES = 2
# What is typed while the program reads the position is lost, so it is typed until something happens.
PAUSE_SECONDS = 0.05

printed = b""
queries = 0
answered = threading.Event()


def type_until_answered(terminal, answer, answered):
    while not answered.wait(PAUSE_SECONDS):
        try:
            os.write(terminal, answer)
        except OSError:
            return


def read(terminal):
    """Passes on what the program prints, and answers it."""
    global printed, queries, answered
    text = os.read(terminal, 4096)
    answered.set()
    printed += text
    while POSITION in printed:
        before, printed = printed.split(POSITION, 1)
        questions = [question for question in ANSWERS if question in before]
        queries = 1 if questions else queries + 1
        if questions:
            read.answer = ANSWERS[questions[0]]
        os.write(terminal, b"\x1b[24;80R")
        if queries == QUERIES:
            answered = threading.Event()
            arguments = (terminal, read.answer, answered)
            threading.Thread(target=type_until_answered, args=arguments, daemon=True).start()
    return text


WIDE = 'stty rows 60 cols 250; exec "$@"'
sys.exit(os.waitstatus_to_exitcode(pty.spawn(["sh", "-c", WIDE, "sh", *sys.argv[1:]], read)))
