# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount helper: mount -t fuse.pantheon-nfs server:/export /mountpoint -o options."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import logging.handlers
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from . import binding
from .client import Client, Refused, Unreachable
from .filesystem import Filesystem
from .options import TYPE, Settings, UsageError, parse

LOG = logging.getLogger("pantheon-nfs")
FUSE_PACKAGES = "python3-fusepy"


class StartError(Exception):
    """The mount cannot be made."""


def load_fuse() -> Any:
    """Load Debian's fusepy, or its successor."""
    for name in ("fusepy", "mfusepy"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
        except OSError as error:
            raise StartError(f"libfuse 2 is not there ({error}). Install {FUSE_PACKAGES}.") from error
    raise StartError(f"the Python module fusepy is not there. Install {FUSE_PACKAGES}.")


def is_mounted(settings: Settings, table: str = "/proc/self/mountinfo") -> bool:
    """Say whether our mount is still there. Reads the kernel's list: the mountpoint itself must not be looked at."""
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return True
    where = settings.mountpoint
    for escaped in ("\\", " ", "\t", "\n"):
        where = where.replace(escaped, f"\\{ord(escaped):03o}")
    return any(line.split(" ")[4] == where and f" fuse.{TYPE} " in line for line in lines)


class Life:
    """Whether the mount is still wanted: asked while operations wait for a server that is away."""

    def __init__(self, settings: Settings, fuse: Any) -> None:
        self._settings, self._fuse = settings, fuse
        self.mounted = False
        self._context: int | None = None

    def ready(self) -> None:
        """FUSE has started; from now on the end is its end."""
        self.mounted = True
        with contextlib.suppress(AttributeError, ValueError):
            self._context = self._fuse._libfuse.fuse_get_context().contents.fuse

    def wanted(self) -> bool:
        """No longer, once a signal has told libfuse to end, or somebody has unmounted us."""
        if not self.mounted:
            return True
        if self._context and self._fuse._libfuse.fuse_exited(self._pointer()):
            return False
        return is_mounted(self._settings)

    def _pointer(self) -> Any:
        return ctypes.c_void_p(self._context)


def serve(settings: Settings, ready: Callable[[], None]) -> None:
    """Connect, mount, and answer until the end. Signals are libfuse's: TERM, INT and HUP unmount."""
    fuse = load_fuse()
    library = binding.load()
    life = Life(settings, fuse)
    client = Client(lambda: binding.connect(library, settings), life.wanted)
    client.start()

    def begin() -> None:
        life.ready()
        ready()

    options: dict[str, Any] = dict.fromkeys(settings.kernel, True)
    if settings.read_only:
        options["ro"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fuse.FUSE(
            Filesystem(client, settings.read_only, begin, lambda: fuse.fuse_get_context()[:2]),
            os.fsencode(settings.mountpoint).decode(binding.ENCODING),
            raw_fi=True,
            encoding=binding.ENCODING,
            foreground=True,
            nothreads=True,
            # Without it, every local user would act with our rights.
            default_permissions=True,
            allow_other=True,
            # Requests of 128 KiB instead of 4.
            big_writes=True,
            # libfuse would open the mountpoint to see whether it is empty; on an automount, that is a wait for ourselves.
            nonempty=True,
            # What is in the page cache stays, while the file has not changed.
            auto_cache=True,
            use_ino=True,
            attr_timeout=settings.attributes,
            entry_timeout=settings.attributes,
            fsname=settings.source,
            subtype=TYPE,
            **options,
        )


class _Syslog(logging.handlers.SysLogHandler):
    """The journal of a machine, also where nothing reads our standard error."""

    append_nul = False


def log_to_machine() -> None:
    """After the start nobody holds our standard error any more, unless it is the journal itself."""
    journal = os.environ.get("JOURNAL_STREAM", "")
    with contextlib.suppress(OSError):
        stat = os.fstat(2)
        if journal == f"{stat.st_dev}:{stat.st_ino}":
            return
    with contextlib.suppress(OSError):
        handler = _Syslog("/dev/log", facility=logging.handlers.SysLogHandler.LOG_DAEMON)
        handler.ident = f"mount.fuse.{TYPE}: "
        handler.setFormatter(logging.getLogger().handlers[0].formatter)
        logging.getLogger().handlers = [handler]
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def explain(settings: Settings, error: BaseException) -> str:
    """One line for people."""
    text = str(error) or type(error).__name__
    if isinstance(error, RuntimeError):  # fusepy: libfuse has said the reason on standard error
        text = "FUSE could not be mounted; it needs /dev/fuse and CAP_SYS_ADMIN"
    return f"mount.fuse.{TYPE}: {settings.source} on {settings.mountpoint}: {text}"


_EXPECTED = (StartError, Unreachable, Refused, binding.LibraryMissing, RuntimeError, OSError)


def in_background(settings: Settings) -> int:
    """Start the server as a process of its own; return once the mount is there, or has failed."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            return 0 if pipe.read() == b"ready" else 1
    os.close(reading)
    os.chdir("/")
    started = False

    def ready() -> None:
        nonlocal started
        started = True
        # Not before the mount: an automount lets only processes of systemd's own group reach the place under it, and
        # everybody else waits there for us.
        os.setsid()
        log_to_machine()
        os.write(writing, b"ready")
        os.close(writing)

    status = 0
    try:
        serve(settings, ready)
    except _EXPECTED as error:
        status = 1
        if started:
            LOG.error("%s", error)
        else:
            print(explain(settings, error), file=sys.stderr, flush=True)
    # Not sys.exit: the caller's clean-up would run a second time here.
    os._exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the helper; 0 means mounted, 1 that it failed, with the reason on standard error."""
    try:
        settings = parse(list(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        print(f"mount.fuse.{TYPE}: {error}", file=sys.stderr)
        return 1
    prefix = f"{settings.source} on {settings.mountpoint}: ".replace("%", "%%")
    logging.basicConfig(format=f"{prefix}%(message)s", level=logging.INFO)
    logging.getLogger("fuse").setLevel(logging.CRITICAL)  # fusepy logs every refused operation
    for warning in settings.warnings:
        LOG.warning("%s", warning)
    if settings.fake:
        return 0
    if not settings.foreground:
        return in_background(settings)
    try:
        serve(settings, lambda: LOG.info("mounted"))
    except _EXPECTED as error:
        print(explain(settings, error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
