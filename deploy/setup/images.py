"""Images that need no registry: a tiny one for the tests and, where none answers, a base for the examples."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from deploy.setup import debian, parts
from deploy.setup.docker_images import PUBLIC_BASE, RECIPE_LABEL, has, id_of, is_used, recipe_of, registry_answers
from deploy.setup.shell import MACHINE, PersonNeeded, SetupFailed, alone, ask, clean_environment, run, say

BUSYBOX = "machete-busybox:latest"
BASE = "machete-base:bookworm"
BASE_PACKAGES = ("ca-certificates", "python-is-python3", "python3", "python3-venv")
NOT_NEEDED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def build_args() -> dict[str, str]:
    """Arguments with which the examples build on this machine: none where the public images can be had."""
    base = {"BASE_IMAGE": BASE} if is_used(BASE, instead_of=PUBLIC_BASE) else {}
    return {**base, **parts.chosen(parts.FOR_TOOLS)}


def ensure() -> None:
    with alone(MACHINE):
        _ensure_busybox()
        _ensure_base()
        if has(BASE):
            parts.ensure(BASE, BUSYBOX)


def _ensure_busybox() -> None:
    recipe = recipe_of("busybox", "1")
    if has(BUSYBOX, recipe):
        return say(f"images: {BUSYBOX} is there")
    program = _static_busybox()
    applets = ask([program, "--list"])[1].split()
    say(f"images: making {BUSYBOX} ({len(applets)} applets)")
    _import(BUSYBOX, busybox_archive(program.read_bytes(), applets), recipe, ['CMD ["/bin/sh"]', "ENV PATH=/bin"])


def _static_busybox() -> Path:
    if not _is_static(_busybox()):
        if os.geteuid() != 0 or not debian.is_bookworm():
            raise PersonNeeded(
                f"no static busybox here, from which {BUSYBOX} is made: install the package busybox-static"
            )
        debian.ensure_packages(["busybox-static"])
    program = _busybox()
    if program is None or not _is_static(program):
        raise SetupFailed(f"the busybox found ({program}) is not statically linked: install busybox-static")
    return program


def _busybox() -> Path | None:
    found = shutil.which("busybox")
    return Path(found).resolve() if found else None


def _is_static(program: Path | None) -> bool:
    """A dynamically linked ELF program names its interpreter near its start."""
    return program is not None and b"/ld-" not in program.read_bytes()[:4096]


def busybox_archive(program: bytes, applets: Iterable[str]) -> bytes:
    """A root file system as tar: busybox, a link for each applet, and what programs expect to find."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        users, groups = b"root:x:0:0:root:/root:/bin/sh\n", b"root:x:0:\n"
        for name, content, mode in (
            ("bin/busybox", program, 0o755),
            ("etc/passwd", users, 0o644),
            ("etc/group", groups, 0o644),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
        for applet in sorted(set(applets) - {"busybox"}):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return buffer.getvalue()


def _import(image: str, archive: bytes, recipe: str, changes: Iterable[str]) -> None:
    options = [word for change in (*changes, f"LABEL {RECIPE_LABEL}={recipe}") for word in ("--change", change)]
    former = id_of(image)
    code, words = ask(["docker", "import", *options, "-", image], stdin=archive, timeout=300)
    if code != 0:
        raise SetupFailed(f"docker could not import {image}: {words}")
    if former:
        # Refused while a container or another image still stands on it: then it stays, unnamed.
        ask(["docker", "image", "rm", former])


def _ensure_base() -> None:
    recipe = recipe_of("base", "1", *BASE_PACKAGES)
    if has(BASE, recipe):
        return say(f"images: {BASE} is there")
    if has(PUBLIC_BASE) or registry_answers():
        return say(f"images: the examples stand on {PUBLIC_BASE}")
    if os.geteuid() != 0 or not debian.is_bookworm():
        raise PersonNeeded(
            f"no image registry can be reached, and only root on Debian 12 can make {BASE} from packages: "
            f"give the engine access to a registry, or load an image named {PUBLIC_BASE}"
        )
    debian.ensure_packages(["debootstrap"])
    say(f"images: no registry can be reached; making {BASE} from Debian's packages (about a minute)")
    _remove_abandoned_roots()
    root = Path(tempfile.mkdtemp(prefix="machete-base.", dir="/var/tmp"))
    try:
        _bootstrap(root)
        _trust_what_the_host_trusts(root)
        _import(BASE, _packed(root), recipe, ['CMD ["python3"]', f"ENV PATH={PATH}"])
    finally:
        shutil.rmtree(root)


def _remove_abandoned_roots() -> None:
    """What a killed set-up left. Its mounts went with its own mount namespace: nothing else hangs below."""
    for root in Path("/var/tmp").glob("machete-base.*"):
        shutil.rmtree(root)


def _bootstrap(root: Path) -> None:
    # Namespaces of its own: when we are killed, its processes and what it mounted go with us.
    alone_in = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    what = ["debootstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}"]
    environment = {**clean_environment(), "DEBIAN_FRONTEND": "noninteractive"}
    run([*alone_in, *what, debian.OWN, root, debian.mirror()], environment=environment)
    for folder in NOT_NEEDED:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)


def _trust_what_the_host_trusts(root: Path) -> None:
    """Behind an inspecting proxy a machine has its own authority; builds on this base meet the same proxy."""
    host = Path(os.environ.get("SSL_CERT_FILE") or CERTIFICATES)
    inside = root / CERTIFICATES.relative_to("/")
    if not host.is_file() or host.read_bytes() == inside.read_bytes():
        return
    inside.write_bytes(host.read_bytes())
    # pip carries its own list of authorities and would not look at the system's.
    (root / "etc/pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")


def _packed(root: Path) -> bytes:
    done = subprocess.run(
        ["tar", "--create", "--one-file-system", "--directory", str(root), "."],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise SetupFailed(f"tar could not pack {root}: {done.stderr.decode(errors='replace')}")
    return done.stdout
