"""What can go wrong while Kafka and Cassandra are brought up on this machine: one line each, and it says what to do."""

from schemas.errors import CallerError, DependencyError


class PortTaken(CallerError):
    """Another program listens on a port that was asked for."""


class DataInUse(CallerError):
    """Another process works on the same data directory."""


class DataForeign(CallerError):
    """The data directory is not ours, or can't be read any more."""


class JavaMissing(CallerError):
    """The wheel that carries Java, or the one that names the repository, is not installed."""


class TooLittleMemory(DependencyError):
    """Less memory is free than the program needs."""


class DiskFull(DependencyError):
    """The disk has too little room."""


class DownloadFailed(DependencyError):
    """A jar could not be loaded: no network, or the repository refused."""


class CorruptDownload(DownloadFailed):
    """A jar arrived, and it is not the one of the lock file."""


class StartFailed(DependencyError):
    """The program ended, or did not answer, before it was ready."""
