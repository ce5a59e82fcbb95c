"""Git repositories as the little Git server publishes them: the same folder always becomes the same commit."""

import os
import subprocess
import tempfile
from pathlib import Path

IDENTITY = {"NAME": "MACHETE", "EMAIL": "machete@localhost", "DATE": "2026-01-01T00:00:00Z"}


def git_environment(**more: str) -> dict[str, str]:
    """An environment in which Git reads no configuration but the repository's, and dates every commit alike."""
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in IDENTITY.items()}
    quiet = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    return {"PATH": os.environ["PATH"], "HOME": os.devnull, "LC_ALL": "C", **quiet, **who, **more}


def git(*arguments: str, **environment: str) -> str:
    """What Git answers; raises CalledProcessError, with Git's words in `stderr`."""
    argv = ["git", *arguments]
    done = subprocess.run(argv, env=git_environment(**environment), capture_output=True, check=True, text=True)
    return done.stdout.strip()


def commit(repository: Path, folder: Path, branch: str = "main") -> str:
    """The commit on the branch that holds the folder's files; a new one only if they changed."""
    at = f"--git-dir={repository}"
    with tempfile.TemporaryDirectory() as scratch:
        index = str(Path(scratch) / "index")
        git(at, f"--work-tree={folder}", "add", "--all", "--", ".", GIT_INDEX_FILE=index)
        tree = git(at, "write-tree", GIT_INDEX_FILE=index)
    tip = git(at, "for-each-ref", "--format=%(objectname) %(tree)", f"refs/heads/{branch}").split()
    if tip and tip[1] == tree:
        return tip[0]
    parents = ["-p", tip[0]] if tip else []
    made = git(at, "commit-tree", tree, *parents, "-m", "Publish")
    git(at, "update-ref", f"refs/heads/{branch}", made)
    return made
