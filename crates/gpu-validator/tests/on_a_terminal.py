"""Runs a command on a terminal of its own, answers it, and keeps every byte that it shows.

on_a_terminal.py FILE QUESTION ANSWER COMMAND...    waits for QUESTION before it types ANSWER; the exit code is the command's
"""

import fcntl
import os
import pty
import struct
import sys
import termios

file, question, answer, *command = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execvp(command[0], command)
shown = b""
answered = not question
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:  # Linux: nobody holds the other end any more.
        break
    if not part:
        break
    shown += part
    if not answered and question.encode() in shown:
        answered = True
        os.write(terminal, answer.encode())
with open(file, "wb") as out:
    out.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
