//! The programs.

use super::Program;

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        group: "languages",
        name: "CPython, threads",
        needs: &[("python3", "python3")],
        prepare: r#"cat > t.py <<'EOF'
import threading, queue
q, done = queue.Queue(10), []
def work():
    while (item := q.get()) is not None: done.append(sum(range(item)))
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for n in range(2000): q.put(n)
for t in threads: q.put(None)
for t in threads: t.join()
print(len(done), sum(done))
EOF"#,
        command: "exec /usr/bin/python3 t.py",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "CPython, asyncio with subprocesses",
        needs: &[("python3", "python3")],
        prepare: r#"cat > t.py <<'EOF'
import asyncio
async def one(n):
    p = await asyncio.create_subprocess_exec('echo', str(n), stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate()
    await asyncio.sleep(0.01)
    return int(out)
async def main():
    print(sum(await asyncio.gather(*(one(n) for n in range(20)))))
asyncio.run(main())
EOF"#,
        command: "exec /usr/bin/python3 t.py",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "CPython, multiprocessing",
        needs: &[("python3", "python3")],
        prepare: r#"cat > t.py <<'EOF'
import multiprocessing
def square(n): return n * n
if __name__ == '__main__':
    with multiprocessing.Pool(4) as pool: print(sum(pool.map(square, range(5000))))
EOF"#,
        command: "exec /usr/bin/python3 t.py",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "Node, worker threads and timers",
        needs: &[("node", "nodejs")],
        prepare: r#"cat > t.js <<'EOF'
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (isMainThread) {
  let left = 3, sum = 0, ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  for (let n = 0; n < 3; n++) {
    const worker = new Worker(__filename);
    worker.on('message', value => { sum += value; worker.terminate(); if (!--left) { clearInterval(timer); console.log(sum, ticks > 0); } });
  }
} else {
  let x = 0;
  for (let i = 0; i < 2e6; i++) x = (x * 31 + i) % 1000003;
  parentPort.postMessage(x);
}
EOF"#,
        command: "exec node t.js",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "Java, threads and garbage",
        needs: &[("javac", "default-jdk-headless")],
        prepare: r#"cat > T.java <<'EOF'
import java.util.concurrent.*;
public class T {
  public static void main(String[] a) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(4);
    java.util.List<Future<Long>> all = new java.util.ArrayList<>();
    for (int n = 0; n < 40; n++) { final int k = n; all.add(pool.submit(() -> {
      long sum = 0; for (int i = 0; i < 50000; i++) { String s = "x" + (i + k); sum += s.hashCode(); } return sum; })); }
    long sum = 0; for (Future<Long> f : all) sum += f.get();
    pool.shutdown(); System.gc(); System.out.println(sum);
  }
}
EOF
javac T.java"#,
        command: "exec java -cp . T",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "Go, static, goroutines",
        needs: &[("go", "golang-go")],
        prepare: r#"cat > t.go <<'EOF'
package main
import ("fmt"; "sync")
func main() {
	var wg sync.WaitGroup
	c := make(chan int)
	for n := 0; n < 50; n++ { wg.Add(1); go func(n int) { defer wg.Done(); s := 0; for i := 0; i < 200000; i++ { s = (s*31 + i*n) % 1000003 }; c <- s }(n) }
	go func() { wg.Wait(); close(c) }()
	sum := 0
	for s := range c { sum += s }
	fmt.Println(sum)
}
EOF
GOFLAGS=-mod=mod CGO_ENABLED=0 GOCACHE=$PWD/cache go build -o t t.go"#,
        command: "exec ./t",
        breakpoint: "main.main",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "Perl, fork and pipes",
        needs: &[("perl", "perl")],
        prepare: r#"cat > t.pl <<'EOF'
my $sum = 0;
for my $n (1..10) {
  pipe(my $r, my $w); if (!fork) { close $r; print $w $n * $n, "\n"; close $w; exit 0 }
  close $w; $sum += <$r>; wait;
}
print "$sum\n";
EOF"#,
        command: "exec perl t.pl",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "Ruby, threads",
        needs: &[("ruby", "ruby")],
        prepare: "",
        command: "exec ruby -e 'puts 10.times.map { |n| Thread.new { (1..20000).reduce { |a, b| (a * n + b) % 1000003 } } }.map(&:value).sum'",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "Lua",
        needs: &[("lua5.4", "lua5.4")],
        command: "exec lua5.4 -e 's = 0 for i = 1, 3000000 do s = (s * 31 + i) % 1000003 end print(s)'",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "C++, exceptions and threads",
        needs: &[("g++", "g++")],
        prepare: r#"cat > t.cc <<'EOF'
#include <future>
#include <iostream>
#include <stdexcept>
#include <vector>
static int f(int n) { if (n % 3 == 0) throw std::runtime_error("three"); return n; }
int main() {
  std::vector<std::future<int>> all;
  for (int n = 0; n < 100; n++) all.push_back(std::async(std::launch::async, [n] { try { return f(n); } catch (const std::exception &) { return -1; } }));
  int sum = 0; for (auto &a : all) sum += a.get();
  std::cout << sum << "\n";
}
EOF
g++ -O2 -g -pthread -o t t.cc"#,
        command: "exec ./t",
        breakpoint: "main",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "static musl program",
        needs: &[("musl-gcc", "musl-tools")],
        prepare: r#"cat > t.c <<'EOF'
#include <pthread.h>
#include <stdio.h>
static void *f(void *p) { long s = 0; for (long i = 0; i < 100000; i++) s += i ^ (long)p; return (void *)s; }
int main(void) { long s = 0; pthread_t t[8]; for (long i = 0; i < 8; i++) pthread_create(&t[i], 0, f, (void *)i); for (int i = 0; i < 8; i++) { void *r; pthread_join(t[i], &r); s += (long)r; } printf("%ld\n", s); }
EOF
musl-gcc -O1 -g -static -o t t.c"#,
        command: "exec ./t",
        breakpoint: "main",
        ..Program::DEFAULT
    },
    Program {
        group: "languages",
        name: "static glibc program",
        needs: &[("gcc", "gcc")],
        prepare: r#"printf '#include <stdio.h>\n#include <time.h>\nint main(void) { struct timespec t; for (int i = 0; i < 1000; i++) clock_gettime(1, &t); puts("done"); }\n' > t.c; gcc -O1 -g -static -o t t.c"#,
        command: "exec ./t",
        breakpoint: "main",
        ..Program::DEFAULT
    },
    Program {
        group: "servers",
        name: "redis-server with redis-benchmark",
        needs: &[("redis-server", "redis-server"), ("redis-benchmark", "redis-tools")],
        command: "redis-server --bind 127.0.0.1 --port $PORT --save '' --appendonly no > server.log & \
                  for n in $(seq 100); do redis-cli -p $PORT ping > /dev/null 2>&1 && break; sleep 0.1; done; \
                  redis-benchmark -p $PORT -n 5000 -c 20 -t set,get,lpush -q > client.log && redis-cli -p $PORT shutdown nosave; wait; echo done",
        ..Program::DEFAULT
    },
    Program {
        group: "servers",
        name: "nginx with curl",
        needs: &[("/usr/sbin/nginx", "nginx-light"), ("curl", "curl")],
        prepare: r#"mkdir -p root; seq 2000 > root/index.html
cat > n.conf <<EOF
daemon off; master_process on; worker_processes 2; pid $PWD/pid; error_log $PWD/error.log;
events { worker_connections 64; }
http { access_log off; client_body_temp_path $PWD/b; proxy_temp_path $PWD/p; fastcgi_temp_path $PWD/f; uwsgi_temp_path $PWD/u; scgi_temp_path $PWD/s;
 server { listen 127.0.0.1:$PORT; root $PWD/root; } }
EOF
chmod -R a+rX ."#,
        command: "/usr/sbin/nginx -c $PWD/n.conf 2> start.log & sleep 1; for n in $(seq 20); do curl -s http://127.0.0.1:$PORT/ | md5sum; done; kill -QUIT $(cat pid); wait",
        ..Program::DEFAULT
    },
    Program {
        group: "servers",
        name: "Python http.server with curl",
        needs: &[("python3", "python3"), ("curl", "curl")],
        prepare: "seq 3000 > file",
        command: "/usr/bin/python3 -m http.server -b 127.0.0.1 $PORT > log 2>&1 & P=$!; \
                  for n in $(seq 50); do curl -sf http://127.0.0.1:$PORT/file | md5sum && break; sleep 0.1; done; \
                  for n in 1 2 3 4 5; do curl -s http://127.0.0.1:$PORT/file | md5sum; done; kill $P; wait; true",
        same_output: false,
        ..Program::DEFAULT
    },
    Program {
        group: "servers",
        name: "memcached",
        needs: &[("memcached", "memcached"), ("python3", "python3")],
        prepare: r#"cat > c.py <<'EOF'
import os, socket, time
for n in range(50):
    try: s = socket.create_connection(('127.0.0.1', int(os.environ['PORT']))); break
    except OSError: time.sleep(0.1)
f = s.makefile('rwb')
for n in range(300):
    f.write(b'set k%d 0 0 3\r\nabc\r\n' % n); f.flush(); assert f.readline() == b'STORED\r\n'
for n in range(300):
    f.write(b'get k%d\r\n' % n); f.flush(); f.readline(); assert f.readline() == b'abc\r\n'; f.readline()
print('good')
EOF"#,
        command: "memcached -u nobody -l 127.0.0.1 -p $PORT -t 4 & P=$!; /usr/bin/python3 c.py; kill $P; wait; true",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "sqlite3, 20000 rows",
        needs: &[("sqlite3", "sqlite3")],
        command: "rm -f db; exec sqlite3 db 'create table t(a, b); with recursive c(n) as (select 1 union all select n + 1 from c where n < 20000) insert into t select n, n * n from c; create index i on t(b); select sum(a), count(*) from t where b > 100;'",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "git clone, log, gc",
        needs: &[("git", "git")],
        prepare: "rm -rf r; git init -q r; cd r; git config user.email a@b; git config user.name a; for n in 1 2 3 4 5 6 7 8; do seq $n 2000 > f$n; git add .; git commit -qm c$n; done",
        command: "rm -rf c; git clone -q --no-hardlinks r c && cd c && git log --oneline | wc -l && git gc -q && git fsck --no-progress && git status --short | wc -l",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "make -j2 with gcc and g++",
        needs: &[("make", "make"), ("g++", "g++")],
        prepare: r##"for n in $(seq 10); do echo "int f$n(int x) { return x * $n; }" > f$n.c; echo "#include <vector>
int g$n() { std::vector<int> v(10, $n); return v[3]; }" > g$n.cc; done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c)) $(patsubst %%.cc,%%.oo,$(wildcard *.cc))\n%%.oo: %%.cc\n\t$(CXX) -c -o $@ $<\n' > Makefile"##,
        command: "rm -f *.o *.oo; make -s -j2 && ls *.o *.oo | wc -l",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "cargo build of a small crate",
        needs: &[("cargo", "cargo")],
        prepare: r#"mkdir -p c/src; echo 'fn main() { println!("built"); }' > c/src/main.rs
printf '[package]\nname = "c"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' > c/Cargo.toml"#,
        command: "cd c && touch src/main.rs && cargo build -q --offline && ./target/debug/c",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "find with xargs -P4",
        prepare: "mkdir -p d; for n in $(seq 60); do seq $n 500 > d/$n; done",
        command: "find d -type f -print0 | xargs -0 -P4 -n3 md5sum | sort | md5sum",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "tar with zstd, and back",
        needs: &[("tar", "tar"), ("zstd", "zstd")],
        prepare: "mkdir -p d; for n in $(seq 50); do seq $n 3000 > d/$n; done",
        command: "tar -c --zstd -f d.tar.zst d && mkdir -p e && tar -x --zstd -f d.tar.zst -C e && diff -r d e/d && echo same",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "rsync between folders",
        needs: &[("rsync", "rsync")],
        prepare: "mkdir -p d; for n in $(seq 50); do seq $n 3000 > d/$n; done",
        command: "rm -rf e; rsync -a d/ e/ && rsync -a d/ e/ && diff -r d e && echo same",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "ssh-keygen",
        needs: &[("ssh-keygen", "openssh-client")],
        command: "rm -f k k.pub; ssh-keygen -q -t ed25519 -N '' -f k && ssh-keygen -y -f k | cut -c1-11",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "openssl s_server and s_client",
        needs: &[("openssl", "openssl")],
        prepare: "openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -subj /CN=localhost -days 2 2> /dev/null",
        command: "openssl s_server -accept $PORT -key k.pem -cert c.pem -www > server.log 2>&1 & P=$!; sleep 1; \
                  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect 127.0.0.1:$PORT -quiet 2> /dev/null | grep -c HTTP; kill $P; wait; true",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "bash with job control",
        needs: &[("bash", "bash")],
        prepare: r#"cat > t.sh <<'EOF'
set -m
sleep 0.2 & sleep 0.1 & jobs | wc -l
(sleep 5; echo never) & kill -STOP %3; kill -CONT %3; kill %3; wait %1 %2; echo $?
trap 'echo got it' USR1; kill -USR1 $$
for n in 1 2 3; do (exit $n) & wait $!; echo $?; done
EOF"#,
        command: "exec bash t.sh 2> /dev/null",
        ..Program::DEFAULT
    },
    Program {
        group: "tools",
        name: "vim in a terminal of tmux",
        needs: &[("tmux", "tmux"), ("vim", "vim")],
        prepare: "seq 20 > f; printf 'set nocompatible\\n' > rc",
        command: "cp f g; tmux -S $PWD/sock -f /dev/null new-session -d -x 80 -y 24 'vim -u rc -n g'; sleep 1; tmux -S $PWD/sock send-keys 'ddGonew line' Escape ':wq' Enter; \
                  for n in $(seq 50); do tmux -S $PWD/sock has-session 2> /dev/null || break; sleep 0.1; done; md5sum g",
        ..Program::DEFAULT
    },
];
