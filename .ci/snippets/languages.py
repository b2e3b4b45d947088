"""How snippets are built and run, in each language."""

import os
import re
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, flock
from pathlib import Path
from threading import Lock

import debian
from facade import ROOT
from snippets.tools import FOLDER, HERE, PROTO, done, is_new, proto_files, run

GOOGLE = sysconfig.get_path("purelib")
OLD = Lock()
ERRORS = ["google/rpc/status.proto", "google/rpc/error_details.proto"]


class Language:
    """Snippets run in a folder of their own."""

    suffix = ""
    # What its TLS calls the file of authorities.
    authorities = "SSL_CERT_FILE"
    # A program makes keys and retries, and keeps secrets to itself.
    is_program = True
    # Compiling takes so long that `dev` gets one call only.
    is_compiled = False
    # Debian's, by their groups in .ci/packages.
    packages = []

    def __init__(self, name):
        self.name = name
        self.folder = FOLDER / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def prepare(self):
        """Generates code from the contract."""

    def build(self, snippets):
        """Writes and builds snippets; with the command that runs each."""
        for name, text in snippets.items():
            self.file(name).write_text(text)
        return {name: self.command(self.file(name)) for name in snippets}

    def file(self, name):
        return self.folder / f"{name}{self.suffix}"

    def command(self, file):
        raise NotImplementedError

    def environment(self, authority):
        """The variables with which it trusts an authority."""
        return {self.authorities: str(authority)}


class Shell(Language):
    suffix = ".sh"
    is_program = False

    def command(self, file):
        return ["sh", file]


class CommandLine(Shell):
    def prepare(self):
        if not shutil.which("totp-facade"):
            run("cargo", "build")


class Python(Language):
    suffix = ".py"
    authorities = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"

    def prepare(self):
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}"]
        output = [f"--python_out={self.folder}", f"--grpc_python_out={self.folder}"]
        run(*protoc, *output, *proto_files())

    def command(self, file):
        return [sys.executable, file]


class TypeScript(Language):
    suffix = ".mts"
    authorities = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"

    # As that of examples/node, for a module without a type in package.json.
    SETTINGS = """{
      "extends": "../../../examples/node/tsconfig.json",
      "compilerOptions": {"typeRoots": ["node_modules/@types"], "allowImportingTsExtensions": true},
      "include": ["*.mts"]
    }"""

    def prepare(self):
        node = ROOT / "examples/node"
        run("npm", "ci", cwd=node)
        (self.folder / "tsconfig.json").write_text(self.SETTINGS)
        link(self.folder / "node_modules", node / "node_modules")
        link(self.folder / "proto", PROTO)
        files = [file for file in proto_files() if "rpc " in (PROTO / file).read_text()]
        # One call a file, as in the snippet: it names what it writes like the file.
        options = ["--keepCase", "--grpcLib=@grpc/grpc-js", "--outDir=generated"]
        for file in files:
            generate = ["node_modules/.bin/proto-loader-gen-types", *options]
            run(*generate, "--includeDirs", "proto", "--", file, cwd=self.folder)

    def build(self, snippets):
        commands = super().build(snippets)
        files = [self.file(name).name for name in snippets]
        settings = self.folder / "tsconfig.json"
        settings.write_text(self.SETTINGS.replace("*.mts", '", "'.join(files)))
        run("node_modules/.bin/tsc", "--noEmit", cwd=self.folder)
        return commands

    def command(self, file):
        return ["node", file]


class Go(Language):
    """With Debian's gRPC, which is of 2020: insecure.go has what it lacks."""

    is_compiled = True
    packages = ["go", "protoc"]

    MODULE = "example.com/enrol"

    def prepare(self):
        insecure = self.folder / "src/google.golang.org/grpc/credentials/insecure"
        insecure.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "go/insecure.go", insecure)
        plugins = ["google.golang.org/protobuf/cmd/protoc-gen-go"]
        plugins += ["google.golang.org/grpc/cmd/protoc-gen-go-grpc"]
        self.go("build", "-o", f"{self.folder}/bin/", *plugins)
        output = self.folder / "src" / self.MODULE / "gen"
        output.mkdir(parents=True, exist_ok=True)
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        packages = [f"M{file}={self.MODULE}/gen/{Path(file).parent}" for file in proto_files()]
        for plugin in ["go", "go-grpc"]:
            options = ",".join(["paths=source_relative", *packages])
            protoc(f"--{plugin}_out={options}:{output}", *proto_files(), PATH=path)

    def build(self, snippets):
        shutil.rmtree(self.folder / "src" / self.MODULE / "call", ignore_errors=True)
        for name, text in snippets.items():
            self.file(name).parent.mkdir(parents=True)
            self.file(name).write_text(text)
        files = [self.file(name) for name in snippets]
        unformatted = run("gofmt", "-d", *files)
        if unformatted:
            sys.exit(unformatted)
        for file in files:
            file.write_text(file.read_text().replace("grpc.NewClient(", "grpc.Dial("))
        packages = [f"{self.MODULE}/call/{name}" for name in snippets]
        self.go("build", "-o", f"{self.folder}/bin/", *packages)
        return {name: self.command(self.file(name)) for name in snippets}

    def file(self, name):
        return self.folder / "src" / self.MODULE / "call" / name / "main.go"

    def command(self, file):
        return [self.folder / "bin" / file.parent.name]

    def environment(self, authority):
        # Retries are off by default before gRPC 1.40.
        return super().environment(authority) | {"GRPC_GO_RETRY": "on"}

    def go(self, *arguments, before=""):
        """Runs go; packages in the folder `before` are taken in place of those of the same name here."""
        path = f"{before}:/usr/share/gocode:{self.folder}".removeprefix(":")
        run("go", *arguments, GO111MODULE="off", GOPATH=path, GOFLAGS="")


class Java(Language):
    is_compiled = True
    packages = ["java", "protoc"]

    def prepare(self):
        generated = self.folder / "generated"
        generated.mkdir(exist_ok=True)
        plugin = shutil.which("grpc_java_plugin")
        protoc(f"--java_out={generated}", *proto_files(), *ERRORS)
        protoc(
            f"--grpc-java_out={generated}", f"--plugin=protoc-gen-grpc-java={plugin}", *proto_files()
        )
        self.compile(generated.rglob("*.java"))

        # Netty looks for its TLS library, without which Debian's has no ALPN, under another name.
        [library] = Path("/usr/lib").glob("*/jni/libnetty-tcnative.so")
        shutil.copy(library, self.folder / "libnetty_tcnative.so")

    def build(self, snippets):
        for name, text in snippets.items():
            self.file(name).parent.mkdir(parents=True, exist_ok=True)
            # A package for each, because all have the same name.
            self.file(name).write_text(f"package {name};\n{text}")
        self.compile(self.file(name) for name in snippets)
        return {name: self.command(self.file(name)) for name in snippets}

    def compile(self, files):
        options = ["-encoding", "UTF-8", "-nowarn", "-d", self.folder / "classes"]
        run("javac", *options, "-cp", self.classes(), *files)

    def file(self, name):
        return self.folder / "calls" / name / "Call.java"

    def command(self, file):
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8"]
        quick += [f"-Djava.library.path={self.folder}"]
        return ["java", *quick, "-cp", self.classes(), f"{file.parent.name}.Call"]

    def classes(self):
        # All of Debian's libraries would take the JVM a second to open.
        names = r"(geronimo-annotation.*spec|grpc-.*|gson|guava|netty-.*|perfmark-api|protobuf.*)\.jar"
        jars = [jar for jar in Path("/usr/share/java").iterdir() if re.fullmatch(names, jar.name)]
        unversioned = [jar for jar in jars if not re.search(r"-\d[\w.]*\.jar$", jar.name)]
        return ":".join(map(str, [self.folder / "classes", *sorted(unversioned)]))

    def environment(self, authority):
        store = self.folder / "authorities"
        store.unlink(missing_ok=True)
        keytool = ["keytool", "-importcert", "-noprompt", "-file", authority, "-keystore", store]
        run(*keytool, "-storepass", "changeit")
        trust = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit"
        return {"JAVA_TOOL_OPTIONS": trust}


class Rust(Language):
    is_compiled = True

    def prepare(self):
        shutil.rmtree(self.folder / "src", ignore_errors=True)
        shutil.copytree(HERE / "rust", self.folder, dirs_exist_ok=True)
        link(self.folder / "proto", PROTO)

    def build(self, snippets):
        shutil.rmtree(self.folder / "src", ignore_errors=True)
        self.file("").parent.mkdir(parents=True)
        for name, text in snippets.items():
            self.file(name).write_text(text)
        options = ["--quiet", "--locked", "--manifest-path", self.folder / "Cargo.toml"]
        run("cargo", "build", *options, CARGO_TARGET_DIR=str(ROOT / "target"))
        return {name: self.command(self.file(name)) for name in snippets}

    def file(self, name):
        return self.folder / f"src/bin/snippet-{name}.rs"

    def command(self, file):
        return [ROOT / "target/debug" / file.stem]


class Cpp(Language):
    is_compiled = True
    packages = ["cpp", "protoc"]
    suffix = ".cc"
    authorities = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
    FLAGS = ["-std=c++17", "-Igen", "-I."]

    def prepare(self):
        generated = self.folder / "gen"
        folders = [f"PROTO={old_protos()}", f"GOOGLEAPIS={GOOGLE}", f"GEN={generated}"]
        jobs = f"--jobs={os.cpu_count()}"
        make = ["make", jobs, *folders, "CXXFLAGS=", generated / "contract.a"]
        run(*make, cwd=ROOT / "examples/cpp")
        files = [file.relative_to(self.folder) for file in generated.rglob("*.h")]
        # Every snippet includes these, which take the compiler longer than all the rest.
        headers = ["grpcpp/grpcpp.h", *sorted(files)]
        text = "".join(f'#include "{header}"\n' for header in headers)
        (self.folder / "all.h").write_text(text.replace('"gen/', '"'))
        self.compile("-x", "c++-header", "all.h", "-o", "all.h.gch")

    def build(self, snippets):
        commands = super().build(snippets)
        parallel(self.link, [self.file(name).relative_to(self.folder) for name in snippets])
        return commands

    def link(self, file):
        libraries = run("pkg-config", "--libs", "grpc++", "protobuf").split()
        options = ["-include", "all.h", file, "gen/contract.a", *libraries]
        self.compile(*options, "-o", file.with_suffix(""))

    def compile(self, *arguments):
        run("c++", *self.FLAGS, *arguments, cwd=self.folder)

    def command(self, file):
        return [file.with_suffix("")]


LANGUAGES = {
    "grpcurl": Shell,
    "cli": CommandLine,
    "python": Python,
    "typescript": TypeScript,
    "go": Go,
    "java": Java,
    "rust": Rust,
    "cpp": Cpp,
}


def prepared(name):
    """A language, ready to build. What it has generated is kept until that would change."""
    language = LANGUAGES[name](name)
    folders = [HERE / "go", HERE / "rust", HERE / "proto", ROOT / "proto"]
    files = [HERE / "languages.py", ROOT / "examples/node/package-lock.json", ROOT / "examples/cpp/Makefile"]
    files += sorted(path for folder in folders for path in folder.rglob("*.*") if path.is_file())
    with open(FOLDER / f"{name}.lock", "w") as lock:
        flock(lock, LOCK_EX)
        if is_new(name, *files):
            debian.install(*language.packages)
            language.prepare()
            done(name, *files)
    return language


def protoc(*arguments, **env):
    """Runs Debian's protoc."""
    run("protoc", f"-I{old_protos()}", f"-I{GOOGLE}", *arguments, **env)


def old_protos():
    """The contract without `debug_redact`, which Debian's protoc is too old to know; with its folder."""
    old = FOLDER / "old-proto"
    with OLD:
        for file in proto_files():
            text = re.sub(r"\s*\[debug_redact = true\]", "", (PROTO / file).read_text())
            if not (old / file).exists() or (old / file).read_text() != text:
                (old / file).parent.mkdir(parents=True, exist_ok=True)
                (old / file).write_text(text)
    return old


def link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def parallel(function, items):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))
