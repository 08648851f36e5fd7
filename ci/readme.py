"""Runs what README.md shows: called by ci/readme.sh.

The commands are read from the README of a clean clone of HEAD, and run in the clone, with a target folder of its own:

- a `sh` block runs as one script. If it says that it listens, it goes on until the next `sh` block;
- a `console` block is commands after `$ `, each followed by all that it prints on standard output;
- a `toml` block is dependencies that this version satisfies; `rust` blocks are documentation tests already;
- `text` is prose. Any other block is an error, and so is a command of cargo outside of a block;
- a picture or a page that it links to is in the package.

A Redis server that a block names on the loopback runs, empty, while the block and those that follow it do. A console
block that talks to servers is tried up to three times, each time with all servers started anew: a machine that is busy
may let a token flow, or a deadline pass, between two lines. What README says must come, exactly, of one of them.
Whatever was started is ended at the end, also if that is an error.
"""

import contextlib
import difflib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The script that calls this one, and is not called by it.
TESTS = "ci/test.sh"
# The longest that a command may take, in seconds: a release build from nothing on a slow machine.
PATIENCE = 1_800
TRIES = 3
FENCE = re.compile(r"^```(\S*)\s*$")
ADDRESS = r"(?:127\.0\.0\.1|localhost)"
LISTENS = re.compile(rf"\blistening on http://{ADDRESS}:\d+")


class Wrong(Exception):
    """Something that README.md says, and that is not so."""


class Block:
    def __init__(self, line: int, kind: str, text: list[str]):
        self.line, self.kind, self.text = line, kind, text

    def script(self) -> str:
        return "\n".join(self.text)

    def commands(self) -> list[tuple[str, list[str]]]:
        """The commands of a console block, each with the lines that it prints."""
        found: list[tuple[str, list[str]]] = []
        continued = False
        for line in self.text:
            if continued:
                command, printed = found[-1]
                found[-1] = (command + "\n" + line, printed)
            elif line.startswith("$ "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line)
            else:
                raise Wrong("a console block begins with a command, after `$ `")
            # Only a command goes on after a backslash.
            continued = line.endswith("\\") and (continued or line.startswith("$ "))
        return found


def blocks(readme: str) -> list[Block]:
    found: list[Block] = []
    inside = None
    for number, line in enumerate(readme.splitlines(), 1):
        fence = FENCE.match(line)
        if inside is not None:
            if line == "```":
                found.append(inside)
                inside = None
            else:
                inside.text.append(line)
        elif fence:
            inside = Block(number, fence[1], [])
        elif "```" in line or line.startswith(("~~~", "    ")):
            raise Wrong(f"README.md:{number}: a block that is not fenced by ``` alone is not read here")
        elif spoken := re.search(r"`\$?\s*(?:cargo|curl|git) [^`]*`", line):
            raise Wrong(f"README.md:{number}: {spoken[0]} is a command: it needs a block, to be run")
    if inside is not None:
        raise Wrong(f"README.md:{inside.line}: the block has no end")
    return found


class Runner:
    """Runs blocks in the clone, and knows what goes on in the background."""

    def __init__(self, clone: pathlib.Path, scratch: pathlib.Path):
        self.clone, self.scratch = clone, scratch
        # The block whose servers go on, and all that was started for it.
        self.servers: Block | None = None
        self.started: list[subprocess.Popen] = []
        self.env = os.environ | {"CARGO_TERM_COLOR": "never"}
        # The clone's own folder, whatever the caller has.
        for name in ("CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_BUILD_DIR"):
            self.env.pop(name, None)

    def spawn(self, command: list[str], out: pathlib.Path, **more) -> subprocess.Popen:
        with out.open("wb") as file:
            child = subprocess.Popen(command, cwd=self.clone, env=self.env, stdin=subprocess.DEVNULL,
                                     stdout=file, start_new_session=True, **more)
        self.started.append(child)
        return child

    def stop(self) -> None:
        """Ends everything that was started, and waits for it."""
        self.servers = None
        for child in reversed(self.started):
            end(child)
        self.started.clear()

    def redis(self, script: str) -> None:
        """Starts the Redis servers that a script names."""
        for port in sorted(set(re.findall(rf"redis://{ADDRESS}:(\d+)", script))):
            free(int(port))
            folder = self.scratch / f"redis-{port}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
            child = self.spawn(command, folder / "log")
            wait(lambda: answers(int(port)), child, folder / "log", f"redis-server on port {port}", 30)

    def sh(self, block: Block) -> None:
        """Runs a script to its end, or until each of its jobs listens."""
        self.stop()
        script = block.script()
        self.redis(script)
        for port in set(re.findall(rf"{ADDRESS}:(\d+)", script)) - set(re.findall(rf"redis://{ADDRESS}:(\d+)", script)):
            free(int(port))
        out, jobs = self.scratch / "out", self.scratch / "jobs"
        jobs.write_text("")
        # A shell at a terminal would be there again, with its jobs in the background; one that fails ends this one.
        tail = f'\njobs -p >"{jobs}"; while [ -n "$(jobs -p)" ]; do wait -n; done'
        child = self.spawn(["bash", "-e", "-o", "pipefail", "-c", script + tail], out)

        since = None

        def ready() -> bool:
            nonlocal since
            listening = len(LISTENS.findall(out.read_text(errors="replace")))
            if listening < max(1, len(jobs.read_text().split())):
                since = None
                return False
            # Not the first of several jobs, before the shell has come to say how many they are.
            since = since or time.monotonic()
            return time.monotonic() - since > 0.5

        if wait(ready, child, out, "the script", PATIENCE, may_end=True):
            self.servers = block
        else:
            self.stop()

    def console(self, block: Block) -> None:
        servers = self.servers
        for left in reversed(range(TRIES)):
            try:
                for command, expected in block.commands():
                    self.compare(command, expected)
                return
            except Wrong:
                # Without servers everything comes as it comes.
                if not servers or not left:
                    raise
                print(f"   once more, {left} tries are left", flush=True)
                self.sh(servers)

    def compare(self, command: str, expected: list[str]) -> None:
        out = self.scratch / "console"
        child = self.spawn(["bash", "-e", "-o", "pipefail", "-c", command], out)
        wait(lambda: False, child, out, command, PATIENCE, may_end=True)
        self.started.remove(child)
        got = out.read_text(errors="replace").splitlines()
        if got != expected:
            difference = difflib.unified_diff(expected, got, "README.md", "what came", lineterm="")
            raise Wrong("\n".join([f"$ {command}", *difference]))


def end(child: subprocess.Popen) -> None:
    """Ends the process and all that it has started, which are its group."""
    for how, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, how)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            child.poll()
            try:
                os.killpg(child.pid, 0)
            except (ProcessLookupError, PermissionError):
                child.wait()
                return
            time.sleep(0.02)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free(port: int) -> None:
    with socket.socket() as probe:
        # As servers do: what was closed a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as why:
            raise Wrong(f"README.md needs port {port} of 127.0.0.1, which is in use: {why}") from None


def wait(ready, child: subprocess.Popen, out: pathlib.Path, what: str, patience: float, *, may_end=False) -> bool:
    """Waits until it is ready, which is true, or, if it may, until it has ended well, which is false."""
    deadline = time.monotonic() + patience
    while True:
        # Asked first: what is ready and ends at once has ended.
        status = child.poll()
        if status is None and ready():
            return True
        if status == 0 and may_end:
            return False
        if status is not None:
            raise Wrong(f"{what}: ended with status {status}\n{out.read_text(errors='replace')[-2_000:]}")
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: neither ended nor listened within {patience} s\n"
                        f"{out.read_text(errors='replace')[-2_000:]}")
        time.sleep(0.02)


def toml(block: Block, clone: pathlib.Path) -> None:
    """Compares the dependency with the package: its name, and a version that this one satisfies."""
    package = tomllib.loads((clone / "Cargo.toml").read_text())["package"]
    for name, wanted in tomllib.loads(block.script())["dependencies"].items():
        version = wanted if isinstance(wanted, str) else wanted["version"]
        if name != package["name"] or not f"{package['version']}.".startswith(f"{version}."):
            raise Wrong(f"{name} {version} is not this package, {package['name']} {package['version']}")


def links(readme: str, clone: pathlib.Path) -> None:
    """Compares the pictures and pages that README shows or links to with the files of the package."""
    listed = subprocess.run(["cargo", "package", "--list", "--locked"], cwd=clone, check=True, capture_output=True,
                            text=True).stdout.splitlines()
    for target in re.findall(r"\]\(([^)#\s]+)", readme):
        if "://" not in target and target not in listed:
            raise Wrong(f"README.md links to {target}, which is not in the package")


def run(block: Block, runner: Runner) -> None:
    script = block.script().strip()
    match block.kind:
        case "sh" if script == TESTS:
            if not os.access(runner.clone / TESTS, os.X_OK):
                raise Wrong(f"{TESTS} cannot be run")
        case "sh":
            runner.sh(block)
        case "console":
            runner.console(block)
        case "toml":
            toml(block, runner.clone)
        case "rust" | "text":
            pass
        case other:
            raise Wrong(f"a block of {other or 'nothing'}: no way to test it")


def all_of_it(clone: pathlib.Path, scratch: pathlib.Path) -> None:
    readme = (clone / "README.md").read_text()
    found = blocks(readme)
    links(readme, clone)
    if not any(block.kind in ("sh", "console") and block.script().strip() != TESTS for block in found):
        raise Wrong("README.md shows no command")
    runner = Runner(clone, scratch)
    try:
        for block in found:
            start = time.monotonic()
            try:
                run(block, runner)
            except Wrong as why:
                raise Wrong(f"README.md:{block.line}: {why}") from None
            if block.kind not in ("rust", "text"):
                first = block.text[0] if block.text else ""
                print(f"   {time.monotonic() - start:6.1f} s  line {block.line}: {first[:90]}", flush=True)
    finally:
        runner.stop()
    # What README's commands write is what the repository has, such as its pictures.
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True)
    if changed.stdout:
        raise Wrong(f"its commands change files of the repository:\n{changed.stdout}")


def main() -> int:
    for how in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C: an exception, so that everything is ended.
        signal.signal(how, lambda *_: sys.exit(1))
    missing = [tool for tool in ("git", "curl", "redis-server", "cargo") if not shutil.which(tool)]
    if missing:
        print(f"readme: needs {', '.join(missing)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="readme-") as folder:
        clone, scratch = pathlib.Path(folder, "clone"), pathlib.Path(folder, "scratch")
        scratch.mkdir()
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
        try:
            all_of_it(clone, scratch)
        except Wrong as why:
            print(f"readme: {why}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
