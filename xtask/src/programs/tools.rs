//! Tools of a developer's day.

use super::Program;

const GROUP: Program = Program { group: "tools", ..Program::DEFAULT };

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "git clone, log, gc",
        needs: &[("git", "git")],
        prepare: "git init -q r; cd r; git config user.email a@b; git config user.name a; \
                  for n in $(seq 30); do seq $n 2000 > f$n; git add .; git commit -qm c$n; done",
        command: "rm -rf c; git clone -q --no-hardlinks r c && cd c && git log --oneline | wc -l && git gc -q && git fsck --no-progress && git status --short | wc -l",
        ..GROUP
    },
    Program {
        name: "make -j2 with gcc and g++, 100 files",
        needs: &[("make", "make"), ("g++", "g++")],
        prepare: r##"for n in $(seq 70); do printf '#include <stdio.h>\nint f%d(int x) { for (int i = 0; i < x; i++) if (i %% 7 == %d) printf("%%d", i); return x * %d; }\n' $n $n $n > f$n.c; done
for n in $(seq 30); do printf '#include <vector>\n#include <string>\nint g%d() { std::vector<std::string> v(10, "%d"); return v[3].size(); }\n' $n $n > g$n.cc; done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c)) $(patsubst %%.cc,%%.oo,$(wildcard *.cc))\n%%.oo: %%.cc\n\t$(CXX) -c -o $@ $<\n' > Makefile"##,
        command: "rm -f *.o *.oo; make -s -j2 && ls *.o *.oo | wc -l",
        ..GROUP
    },
    Program {
        name: "cargo build of a small crate",
        needs: &[("cargo", "cargo")],
        prepare: r#"mkdir -p c/src; echo 'fn main() { println!("built"); }' > c/src/main.rs
printf '[package]\nname = "c"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' > c/Cargo.toml"#,
        command: "cd c && touch src/main.rs && cargo build -q --offline && ./target/debug/c",
        ..GROUP
    },
    Program {
        name: "find with xargs -P4",
        prepare: "mkdir -p d; for n in $(seq 200); do seq $n 3000 > d/$n; done",
        command: "find d -type f -print0 | xargs -0 -P4 -n3 md5sum | sort | md5sum",
        ..GROUP
    },
    Program {
        name: "tar with zstd, and back",
        needs: &[("tar", "tar"), ("zstd", "zstd")],
        prepare: "mkdir -p d; for n in $(seq 400); do seq $n 8000 > d/$n; done",
        command: "rm -rf e; mkdir e; tar -c --zstd -f d.tar.zst d && tar -x --zstd -f d.tar.zst -C e && diff -r d e/d && echo same",
        ..GROUP
    },
    Program {
        name: "rsync between folders",
        needs: &[("rsync", "rsync")],
        prepare: "mkdir -p d; for n in $(seq 400); do seq $n 8000 > d/$n; done",
        command: "rm -rf e; rsync -a d/ e/ && touch d/* && rsync -ac d/ e/ && diff -r d e && echo same",
        ..GROUP
    },
    Program {
        name: "ssh-keygen, 30 keys",
        needs: &[("ssh-keygen", "openssh-client")],
        command: "for n in $(seq 30); do rm -f k k.pub; ssh-keygen -q -t ed25519 -N '' -f k && ssh-keygen -y -f k | cut -c1-11; done",
        ..GROUP
    },
    Program {
        name: "openssl speed",
        needs: &[("openssl", "openssl")],
        command: "openssl speed -seconds 1 -bytes 1024 sha256 md5 2> speed.log > speed.out; grep -c ^sha256 speed.out",
        ..GROUP
    },
    Program {
        name: "openssl s_server and s_client",
        needs: &[("openssl", "openssl")],
        prepare: "openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -subj /CN=localhost -days 2 2> /dev/null",
        command: "openssl s_server -accept $PORT -key k.pem -cert c.pem -www > server.log 2>&1 & P=$!; \
                  for n in $(seq 100); do openssl s_client -connect 127.0.0.1:$PORT < /dev/null > /dev/null 2>&1 && break; sleep 0.1; done; \
                  for n in $(seq 5); do printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect 127.0.0.1:$PORT -quiet 2> /dev/null | grep -c HTTP; done; \
                  kill $P; wait; true",
        ..GROUP
    },
    Program {
        name: "ffmpeg, ten seconds to H.264 and AAC",
        needs: &[("ffmpeg", "ffmpeg")],
        command: "ffmpeg -v error -nostdin -y -f lavfi -i testsrc=duration=10:size=320x240:rate=25 -f lavfi -i sine=duration=10 \
                  -c:v libx264 -preset veryfast -threads 2 -c:a aac -bitexact out.mp4 && ffprobe -v error -show_entries format=duration -of csv=p=0 out.mp4",
        ..GROUP
    },
    Program {
        name: "vim in a terminal of tmux",
        needs: &[("tmux", "tmux"), ("vim", "vim")],
        prepare: "seq 20 > f; printf 'set nocompatible\\n' > rc",
        command: "cp f g; tmux -S $PWD/sock -f /dev/null new-session -d -x 80 -y 24 'vim -u rc -n g'; sleep 1; tmux -S $PWD/sock send-keys 'ddGonew line' Escape ':wq' Enter; \
                  for n in $(seq 100); do tmux -S $PWD/sock has-session 2> /dev/null || break; sleep 0.1; done; md5sum g",
        ..GROUP
    },
    Program {
        name: "less in a terminal of tmux",
        needs: &[("tmux", "tmux"), ("less", "less")],
        prepare: "seq 5000 > f",
        command: "T=\"tmux -S $PWD/sock -f /dev/null\"; $T new-session -d -x 80 -y 24 'less f'; \
                  see() { for n in $(seq 100); do $T capture-pane -p | grep -qx \"$1\" && echo \"sees $1\" && return; sleep 0.1; done; }; \
                  see 23; $T send-keys G; see 5000; $T send-keys /^12 Enter g /^1777 Enter; see 1777; $T send-keys q; \
                  for n in $(seq 100); do $T has-session 2> /dev/null || break; sleep 0.1; done; echo over",
        ..GROUP
    },
    Program {
        name: "expect with python and bash in terminals",
        needs: &[("expect", "expect"), ("python3", "python3")],
        command: "exec expect $SOURCES/python.exp",
        ..GROUP
    },
    Program {
        name: "bash with job control",
        needs: &[("bash", "bash")],
        command: "exec bash $SOURCES/jobs.sh 2> /dev/null",
        ..GROUP
    },
    Program {
        name: "a daemon that forks twice and runs jobs",
        needs: &[("gcc", "gcc")],
        prepare: "gcc -O1 -g -o t $SOURCES/daemon.c",
        command: "rm -f pid daemon.log; ./t $PWD/pid; see() { for n in $(seq 100); do grep -qx \"$1\" daemon.log 2> /dev/null && return; sleep 0.1; done; }; \
                  see 'all jobs done'; kill -HUP $(cat pid); see 'read its table again'; kill $(cat pid); see ends; cat daemon.log",
        breakpoint: "say",
        ..GROUP
    },
];
