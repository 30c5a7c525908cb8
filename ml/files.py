"""Writes several files that belong together: all of them, or none."""

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

from errors import TrainingError


def write_together(folder: Path, files: dict[str, bytes]) -> None:
    """Write every name -> content of `files` into `folder` (made when missing), replacing what is there.

    All are written and synced in a staging folder inside `folder`, then renamed in the order given, each
    rename synced before the next. On an error the old files are put back and the staging folder goes away.
    A machine that dies between two renames leaves old and new mixed, so the file that describes the others
    comes last: until then it describes files that are no longer there, and a reader can tell.
    Raises TrainingError WRITE_FAILED.
    """
    made = _missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _stage_and_replace(folder, files)
    except BaseException as error:
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()
        if isinstance(error, OSError):
            raise TrainingError(
                "WRITE_FAILED",
                f"cannot write the model into {folder}: {error.strerror or error}; nothing was changed. "
                "Check the folder given with --out, its rights and the free space",
            ) from error
        raise


def _stage_and_replace(folder: Path, files: dict[str, bytes]) -> None:
    # Inside the folder: only there is it sure to be the same file system, and a rename to be atomic.
    staging = Path(tempfile.mkdtemp(prefix=".staging-", suffix=".tmp", dir=folder))
    try:
        for name, content in files.items():
            _write_synced(staging / name, content)
        _replace_all(folder, staging, list(files))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace_all(folder: Path, staging: Path, names: list[str]) -> None:
    replaced: list[str] = []
    try:
        for name in names:
            _keep_old(folder / name, _old(staging, name))
            replaced.append(name)
            (staging / name).replace(folder / name)
            _sync_folder(folder)
    except BaseException:
        for name in reversed(replaced):
            _put_back(folder / name, _old(staging, name))
        raise


def _old(staging: Path, name: str) -> Path:
    return staging / f"{name}.old"


def _keep_old(target: Path, old: Path) -> None:
    """Keep the present file, if there is one, under a second name without ever taking away the first."""
    try:
        os.link(target, old)
    except FileNotFoundError:
        return
    except OSError:
        # Some file systems have no hard links. A folder in the file's place fails here, before any rename.
        shutil.copy2(target, old)


def _put_back(target: Path, old: Path) -> None:
    if old.exists():
        old.replace(target)
    else:
        target.unlink(missing_ok=True)


def _missing_folders(folder: Path) -> list[Path]:
    """The folders that writing will make, innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open a folder, and syncs its renames itself.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and container file systems do not sync folders, and have nothing to sync.
        if error.errno not in (errno.EBADF, errno.EINVAL):
            raise
    finally:
        os.close(descriptor)
