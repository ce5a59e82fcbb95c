"""Repositories with what no honest work tree has: made from objects, not from files."""

import hashlib
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from deploy.githost import git, git_environment

FILE = 0o100644
PROGRAM = 0o100755
LINK = 0o120000
SUBMODULE = 0o160000
FOLDER = 0o40000

DOCKERFILE = b"FROM scratch\nEXPOSE 8080\n"
MANIFEST = b"name: a-tool\nversion: 1.0.0\nmachete: {port: 8080}\n"
TOOL: dict[str, "bytes | Odd"] = {"Dockerfile": DOCKERFILE, "machete.yml": MANIFEST}


@dataclass(frozen=True)
class Odd:
    """An entry that is no plain file; a submodule's content is the name of a commit."""

    mode: int
    content: bytes


def link(target: str) -> Odd:
    return Odd(LINK, target.encode())


def commit_files(repository: Path, files: dict[str, "bytes | Odd"], branch: str = "main") -> str:
    """A commit on the branch that holds exactly these files; the repository is made if there is none."""
    if not repository.exists():
        git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    lines: list[bytes] = [
        f"commit refs/heads/{branch}\ncommitter A <a@localhost> 1767225600 +0000\ndata 4\nTest\n".encode()
    ]
    if git(f"--git-dir={repository}", "for-each-ref", f"refs/heads/{branch}"):
        lines.append(f"from refs/heads/{branch}^0\n".encode())
    lines.append(b"deleteall\n")
    for path, entry in files.items():
        odd = entry if isinstance(entry, Odd) else Odd(FILE, entry)
        if odd.mode == SUBMODULE:
            lines.append(f"M 160000 {odd.content.decode()} {path}\n".encode())
        else:
            lines.append(f"M {odd.mode:o} inline {path}\ndata {len(odd.content)}\n".encode() + odd.content + b"\n")
    argv = ["git", f"--git-dir={repository}", "fast-import", "--quiet"]
    subprocess.run(argv, input=b"".join(lines), env=git_environment(), check=True, capture_output=True)
    return git(f"--git-dir={repository}", "rev-parse", f"refs/heads/{branch}")


def write_object(repository: Path, kind: str, content: bytes) -> str:
    """An object as it is given, which no Git command would make; returns its name."""
    whole = f"{kind} {len(content)}\0".encode() + content
    name = hashlib.sha1(whole).hexdigest()
    folder = repository / "objects" / name[:2]
    folder.mkdir(exist_ok=True)
    (folder / name[2:]).write_bytes(zlib.compress(whole))
    return name


def write_tree(repository: Path, *entries: tuple[int, bytes, str]) -> str:
    """A tree of (mode, name, object) in this order, whatever the names are."""
    content = b"".join(f"{mode:o} ".encode() + name + b"\0" + bytes.fromhex(key) for mode, name, key in entries)
    return write_object(repository, "tree", content)


def commit_tree(repository: Path, tree: str, branch: str = "main") -> str:
    who = "A <a@localhost> 1767225600 +0000"
    head = f"tree {tree}\nauthor {who}\ncommitter {who}\n\nTest\n"
    name = write_object(repository, "commit", head.encode())
    git(f"--git-dir={repository}", "update-ref", f"refs/heads/{branch}", name)
    return name
