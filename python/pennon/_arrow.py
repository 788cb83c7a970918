"""Sees to it that the pyarrow here is the one that the extension is linked against."""

from pennon._built_with import ARROW


def check() -> None:
    """Import pyarrow, whose libraries the extension then finds; ImportError says what to install instead."""
    needed = f"pennon was built with pyarrow {ARROW}, and needs pyarrow>={ARROW},<{_next(ARROW)}"
    install = f"run: pip install 'pyarrow=={ARROW}.*'"
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{needed}, which cannot be imported ({error}); {install}") from error
    if ".".join(pyarrow.cpp_version.split(".")[:2]) != ARROW:
        raise ImportError(f"{needed}, but found pyarrow {pyarrow.__version__}; {install}")


def _next(version: str) -> str:
    major, minor = version.split(".")
    return f"{major}.{int(minor) + 1}"


check()
