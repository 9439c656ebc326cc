//! Languages: their run-time systems, and the kinds of binaries that compilers make.

use super::Program;

const GROUP: Program = Program { group: "languages", ..Program::DEFAULT };

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "CPython, threads",
        needs: &[("python3", "python3")],
        command: "exec /usr/bin/python3 $SOURCES/worklist.py",
        ..GROUP
    },
    Program {
        name: "CPython, asyncio with subprocesses",
        needs: &[("python3", "python3")],
        command: "exec /usr/bin/python3 $SOURCES/subprocesses.py",
        ..GROUP
    },
    Program {
        name: "CPython, multiprocessing",
        needs: &[("python3", "python3")],
        command: "exec /usr/bin/python3 $SOURCES/squares.py",
        ..GROUP
    },
    Program {
        name: "Node, worker threads and timers",
        needs: &[("node", "nodejs")],
        command: "exec node $SOURCES/workers.js",
        ..GROUP
    },
    Program {
        name: "Java, threads and garbage",
        needs: &[("javac", "default-jdk-headless")],
        prepare: "javac -d . $SOURCES/Pool.java",
        command: "exec java -cp . Pool",
        ..GROUP
    },
    Program {
        name: "Go, static, goroutines",
        needs: &[("go", "golang-go")],
        prepare: "GOFLAGS=-mod=mod CGO_ENABLED=0 go build -o t $SOURCES/goroutines.go",
        command: "exec ./t",
        breakpoint: "main.main",
        ..GROUP
    },
    Program {
        name: "Rust, tokio on several threads",
        needs: &[("cargo", "cargo")],
        prepare: super::TOKIO,
        command: "exec $SHARED/tokio/release/tasks",
        breakpoint: "tasks::main",
        ..GROUP
    },
    Program {
        name: "OCaml, native",
        needs: &[("ocamlopt", "ocaml-nox")],
        prepare: "cp $SOURCES/primes.ml .; ocamlopt -g -o t primes.ml",
        command: "exec ./t",
        breakpoint: "main",
        ..GROUP
    },
    Program {
        name: "Haskell, threads of its own",
        needs: &[("ghc", "ghc")],
        prepare: "cp $SOURCES/Primes.hs .; ghc -O1 -threaded -o t Primes.hs",
        command: "exec ./t +RTS -N2",
        breakpoint: "main",
        ..GROUP
    },
    Program {
        name: "Perl, fork and pipes",
        needs: &[("perl", "perl")],
        command: "exec perl $SOURCES/pipes.pl",
        ..GROUP
    },
    Program {
        name: "Ruby, threads",
        needs: &[("ruby", "ruby")],
        command: "exec ruby $SOURCES/lists.rb",
        ..GROUP
    },
    Program {
        name: "Lua",
        needs: &[("lua5.4", "lua5.4")],
        command: "exec lua5.4 -e 's = 0 for i = 1, 20000000 do s = (s * 31 + i) % 1000003 end print(s)'",
        ..GROUP
    },
    Program {
        name: "C++, exceptions and 4000 threads",
        needs: &[("g++", "g++")],
        prepare: "g++ -O2 -g -pthread -o t $SOURCES/exceptions.cc",
        command: "exec ./t",
        breakpoint: "main",
        ..GROUP
    },
    Program {
        name: "static musl program, threads",
        needs: &[("musl-gcc", "musl-tools")],
        prepare: "musl-gcc -O1 -g -static -o t $SOURCES/threads.c",
        command: "exec ./t",
        breakpoint: "main",
        ..GROUP
    },
    Program {
        name: "static glibc program, threads",
        needs: &[("gcc", "gcc")],
        prepare: "gcc -O1 -g -static -pthread -o t $SOURCES/threads.c",
        command: "exec ./t",
        breakpoint: "main",
        ..GROUP
    },
    Program {
        name: "stripped program, threads",
        needs: &[("gcc", "gcc")],
        prepare: "gcc -O1 -s -pthread -o t $SOURCES/threads.c",
        command: "exec ./t",
        breakpoint: "pthread_create",
        ..GROUP
    },
    Program {
        name: "PIE, threads",
        needs: &[("gcc", "gcc")],
        prepare: "gcc -O1 -g -fpie -pie -pthread -o t $SOURCES/threads.c",
        command: "exec ./t",
        breakpoint: "main",
        ..GROUP
    },
    Program {
        name: "not a PIE, threads",
        needs: &[("gcc", "gcc")],
        prepare: "gcc -O1 -g -fno-pie -no-pie -pthread -o t $SOURCES/threads.c",
        command: "exec ./t",
        breakpoint: "main",
        ..GROUP
    },
    Program {
        name: "system calls in code it generates",
        needs: &[("gcc", "gcc")],
        prepare: "gcc -O1 -g -o t $SOURCES/generated.c",
        command: "exec ./t",
        breakpoint: "main",
        ..GROUP
    },
];
