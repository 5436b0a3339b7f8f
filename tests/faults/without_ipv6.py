"""Runs a command on a kernel without IPv6, as one that was started with `ipv6.disable=1` is: no socket of it can be made.

A namespace would take the loopback away as well; a filter of system calls takes this alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

_SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Of each machine its AUDIT_ARCH and the number of socket(2): linux/audit.h, asm/unistd.h."""

_LOAD, _EQUALS, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCH, _FIRST = 0, 4, 16
"""Offsets in `struct seccomp_data`: of the call, of the machine, of the first argument's lower half."""

_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_ipv6() -> None:
    """Have socket(AF_INET6, …) fail with EAFNOSUPPORT from now on, in this process and all that it starts.

    Raises:
        OSError: The kernel does not take filters.
    """
    arch, number = _SOCKET[platform.machine()]
    steps = (
        (_LOAD, 0, 0, _ARCH), (_EQUALS, 0, 5, arch),
        (_LOAD, 0, 0, _NUMBER), (_EQUALS, 0, 3, number),
        (_LOAD, 0, 0, _FIRST), (_EQUALS, 0, 1, socket.AF_INET6),
        (_RETURN, 0, 0, _REFUSE | errno.EAFNOSUPPORT), (_RETURN, 0, 0, _ALLOW),
    )  # fmt: skip
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _FILTER, ctypes.byref(_Program(len(steps), code)), 0, 0),
    ):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    refuse_ipv6()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command is the caller's
