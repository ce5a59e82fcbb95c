"""What Compose would open on reading a stack's files: looked through before it does.

The content of an opened file reaches the tool, so all of them lie in the repository. Compose resolves every path
of a file against one folder: the project's for the first file, the file's own for one that is included or
extended, and the `project_directory` that an include names.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NoReturn

from libs.contracts.problems import Failure
from libs.contracts.written import Fault, found_text, key_text
from services.orchestrator.domain.stacks.compose_yaml import Node, invalid, read_documents

Read = Callable[[PurePosixPath], bytes | None]
"""The content of a file by its path from the repository's root; None where there is none."""

MAX_DEPTH = 20
MAX_FILES = 200
_NOWHERE = PurePosixPath("/dev/null")
_INCLUDE_KEYS = ("path", "env_file", "project_directory")
_A_PATH = "here stands a path, or a list of them"
_REMOTE = "nothing is fetched from elsewhere; put the file into the repository and write its path"
_OUTSIDE = "this leads out of the repository, and what it holds is not the tool's; write a path inside it"
_WRITE_OUT = "what a variable makes of this is not known before the file is read; write the path out"

_Service = tuple[PurePosixPath, str]


def check_files(read: Read, compose: PurePosixPath, project: PurePosixPath | None = None) -> None:
    """Raises `Failure`: `policy_refused` for a file outside the repository, `compose_invalid` for one that is broken.

    `compose` is the first file's path from the repository's root, `project` the folder that Compose is told as
    its project directory (the file's own where None). A file that is missing is left for Compose to name.
    """
    reading = _Reading(read)
    folder = _folder(project) if project is not None else compose.parent
    if not reading.visit(_folder(compose), folder, chain=()):
        invalid(str(compose), None, "there is no such file")
    if not reading.any_service:
        invalid(str(compose), None, "it has no services; a stack names at least one under services")
    reading.check_extending()


@dataclass(frozen=True)
class _File:
    """One reading of a file. `chain` are the files that led here; an extended one is asked for its services alone."""

    path: PurePosixPath
    base: PurePosixPath
    chain: tuple[PurePosixPath, ...]
    extended: bool


@dataclass
class _Reading:
    read: Read
    any_service: bool = False
    _seen: set[tuple[PurePosixPath, PurePosixPath, bool]] = field(
        default_factory=set[tuple[PurePosixPath, PurePosixPath, bool]]
    )
    _extends: dict[_Service, dict[_Service, int]] = field(default_factory=dict[_Service, dict[_Service, int]])

    def visit(
        self, path: PurePosixPath, base: PurePosixPath, chain: tuple[PurePosixPath, ...], extended: bool = False
    ) -> bool:
        """False where there is no such file."""
        if not extended and path in chain:
            invalid(str(chain[-1]), None, f"it includes {path}, which includes it in turn; take one of them out")
        if (path, base, extended) in self._seen:
            return True
        self._seen.add((path, base, extended))
        if len(chain) >= MAX_DEPTH or len(self._seen) > MAX_FILES:
            invalid(str(path), None, f"files include others more than {MAX_DEPTH} deep, or more than {MAX_FILES}")
        content = self.read(path)
        if content is None:
            return False
        file = _File(path, base, chain, extended)
        for document in read_documents(content, str(path)):
            if document.pairs is not None:
                self._document(file, document)
            elif not document.empty:
                invalid(str(path), document.line, "a Compose file is a mapping with keys like services and volumes")
        return True

    def _document(self, file: _File, document: Node) -> None:
        for entry in document.named("include"):
            if not entry.empty:
                self._includes(file, entry)
        for services in document.named("services"):
            for name, service in services.pairs or ():
                self.any_service = self.any_service or not file.extended
                self._service(file, name, service)

    def _includes(self, file: _File, node: Node) -> None:
        if node.items is None:
            invalid(str(file.path), node.line, "include is a list of paths")
        # With an entry taken back, paths would be resolved against another folder than they seem to be.
        if tagged := next(_tagged(node), None):
            invalid(str(file.path), tagged.line, "what is included is written without !reset and !override", "include")
        for index, item in enumerate(node.items):
            self._include(file, f"include[{index}]", item)

    def _include(self, file: _File, key: str, item: Node) -> None:
        if any(name not in _INCLUDE_KEYS for name, _ in item.pairs or ()):
            invalid(str(file.path), item.line, "an include has only path, env_file and project_directory", key)
        if item.items is not None:
            invalid(str(file.path), item.line, _A_PATH, key)
        given = item.named("path") if item.pairs is not None else (item,)
        paths = [[_inside(file, key, text) for text in _texts(file, key, node)] for node in given]
        folders = [
            _inside(file, f"{key}.project_directory", text)
            for node in item.named("project_directory")
            for text in _texts(file, key, node)
        ]
        for node in item.named("env_file"):
            for text in _texts(file, key, node):
                _inside(file, f"{key}.env_file", text)
        # Compose passes over what an extended file includes.
        for base in folders or [some[0].parent for some in paths if some]:
            for path in (path for some in paths for path in some if not file.extended):
                self.visit(path, base, (*file.chain, file.path))

    def _service(self, file: _File, name: str, service: Node) -> None:
        key = key_text(("services", name))
        for kind in ("env_file", "label_file"):
            for node in service.named(kind):
                _check_listed(file, f"{key}.{kind}", node)
        for node in service.named("extends"):
            if node.pairs is None:
                self._extend(file, name, node, node, file.path)
                continue
            files = [text for each in node.named("file") for text in _texts(file, key, each)]
            targets = [_inside(file, f"{key}.extends.file", text) for text in files] or [file.path]
            for target in targets:
                if files:
                    self.visit(target, target.parent, (*file.chain, file.path), extended=True)
                for base in node.named("service"):
                    self._extend(file, name, node, base, target)

    def _extend(self, file: _File, name: str, node: Node, base: Node, target: PurePosixPath) -> None:
        if base.text is not None and not base.empty:
            self._extends.setdefault((file.path, name), {})[(target, base.text)] = node.line

    def check_extending(self) -> None:
        """No service extends itself, by whatever detour."""
        done: set[_Service] = set()
        for first in self._extends:
            way: list[_Service] = []
            rest = [(first, 0)]
            while rest:
                service, depth = rest.pop()
                del way[depth:]
                if service in way:
                    (path, name), (_, other) = way[-1], service
                    line = self._extends[way[-1]][service]
                    invalid(str(path), line, f"{other} extends itself by way of {name}", key_text(("services", name)))
                if service not in done:
                    done.add(service)
                    way.append(service)
                    rest += [(other, depth + 1) for other in self._extends.get(service, {})]


def _tagged(node: Node) -> Iterator[Node]:
    if node.tagged:
        yield node
    for inner in (*(node.items or ()), *(value for _, value in node.pairs or ())):
        yield from _tagged(inner)


def _check_listed(file: _File, key: str, node: Node) -> None:
    """`env_file`: a path, or a list of paths and of mappings with a path."""
    for entry in node.texts():
        for each in entry.named("path") if entry.pairs is not None else (entry,):
            if each.items is not None:
                invalid(str(file.path), each.line, _A_PATH, key)
            for text in _texts(file, key, each):
                _inside(file, key, text)


def _texts(file: _File, key: str, node: Node) -> Iterator[Node]:
    for entry in node.texts():
        if entry.text is None:
            invalid(str(file.path), entry.line, _A_PATH, key)
        if not entry.empty:
            yield entry


def _inside(file: _File, key: str, node: Node) -> PurePosixPath:
    """The path from the repository's root."""
    text = node.text or ""
    if "$" in text:
        _refuse(file, key, node, _WRITE_OUT)
    if ":" in text or text.casefold().startswith(("github.com/", "git@")):
        _refuse(file, key, node, _REMOTE)
    if not text.isprintable() or text != text.strip():
        _refuse(file, key, node, "a path has no spaces around it and no control characters; write it plainly")
    path = PurePosixPath(text)
    if path == _NOWHERE and key.endswith("env_file"):
        return path
    inner = _normal(file.base, path)
    if inner is None or text.startswith("~"):
        _refuse(file, key, node, _OUTSIDE)
    return inner


def _normal(base: PurePosixPath, path: PurePosixPath) -> PurePosixPath | None:
    """The path from the root, with `..` taken as Compose takes it; None where it leads out."""
    if path.is_absolute():
        return None
    parts: list[str] = []
    for part in (*base.parts, *path.parts):
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            return None
    return PurePosixPath(*parts)


def _folder(path: PurePosixPath) -> PurePosixPath:
    inner = _normal(PurePosixPath(), path)
    if inner is None:
        invalid(str(path), None, "the Compose file and its folder lie in the repository")
    return inner


def _refuse(file: _File, key: str, node: Node, rule: str) -> NoReturn:
    fault = Fault(str(file.path), node.line, key, found_text(node.text), rule)
    raise Failure("policy_refused", f"{fault}.", {"refusals": [str(fault)]})
