//! Servers under a load of their own client; all of it is recorded.

use super::Program;

const GROUP: Program = Program { group: "servers", ..Program::DEFAULT };

/// Its files and settings.
const NGINX: &str = "mkdir -p root; seq 2000 > root/index.html; \
                     sed \"s,PLACE,$PWD,;s,PORT,$PORT,\" $SOURCES/nginx.conf > n.conf; chmod -R a+rX .";

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "redis-server with redis-benchmark",
        needs: &[("redis-server", "redis-server"), ("redis-benchmark", "redis-tools")],
        command: "redis-server --bind 127.0.0.1 --port $PORT --save '' --appendonly no > server.log & \
                  for n in $(seq 100); do redis-cli -p $PORT ping > /dev/null 2>&1 && break; sleep 0.1; done; \
                  redis-benchmark -p $PORT -n 20000 -c 20 -t set,get,lpush -q > client.log && redis-cli -p $PORT shutdown nosave; wait; echo done",
        ..GROUP
    },
    Program {
        name: "PostgreSQL, initdb and pgbench",
        needs: &[("/usr/lib/postgresql/15/bin/initdb", "postgresql-15"), ("setpriv", "util-linux")],
        prepare: "mkdir -p home; cp $SOURCES/postgres.sh .; if [ $(id -u) = 0 ]; then chown nobody home; fi",
        command: "cd home; if [ $(id -u) = 0 ]; then as='setpriv --reuid=nobody --regid=nogroup --clear-groups'; fi; \
                  exec $as bash ../postgres.sh",
        ..GROUP
    },
    Program {
        name: "nginx with curl",
        needs: &[("/usr/sbin/nginx", "nginx-light"), ("curl", "curl")],
        prepare: NGINX,
        command: "/usr/sbin/nginx -c $PWD/n.conf 2> start.log & \
                  for n in $(seq 100); do curl -so /dev/null http://127.0.0.1:$PORT/ && break; sleep 0.1; done; \
                  for n in $(seq 40); do curl -s http://127.0.0.1:$PORT/ | md5sum; done; kill -QUIT $(cat pid); wait",
        ..GROUP
    },
    Program {
        name: "nginx with wrk, two seconds",
        needs: &[("/usr/sbin/nginx", "nginx-light"), ("wrk", "wrk"), ("curl", "curl")],
        prepare: NGINX,
        command: "/usr/sbin/nginx -c $PWD/n.conf 2> start.log & \
                  for n in $(seq 100); do curl -so /dev/null http://127.0.0.1:$PORT/ && break; sleep 0.1; done; \
                  wrk -t 2 -c 8 -d 2 http://127.0.0.1:$PORT/ > wrk.log; grep -c Requests/sec wrk.log; grep Non-2xx wrk.log; \
                  kill -QUIT $(cat pid); wait",
        ..GROUP
    },
    Program {
        name: "Python http.server with curl",
        needs: &[("python3", "python3"), ("curl", "curl")],
        prepare: "seq 3000 > file",
        command: "/usr/bin/python3 -m http.server -b 127.0.0.1 $PORT > log 2>&1 & P=$!; \
                  for n in $(seq 100); do curl -so /dev/null http://127.0.0.1:$PORT/file && break; sleep 0.1; done; \
                  for n in $(seq 20); do curl -s http://127.0.0.1:$PORT/file | md5sum; done; kill $P; wait; true",
        ..GROUP
    },
    Program {
        name: "memcached with a Python client",
        needs: &[("memcached", "memcached"), ("python3", "python3")],
        command: "memcached -u nobody -l 127.0.0.1 -p $PORT -t 4 & P=$!; /usr/bin/python3 $SOURCES/memcached.py; kill $P; wait; true",
        ..GROUP
    },
    Program {
        name: "sqlite3, 100000 rows",
        needs: &[("sqlite3", "sqlite3")],
        command: "rm -f db; exec sqlite3 db 'create table t(a, b); with recursive c(n) as (select 1 union all select n + 1 from c where n < 100000) \
                  insert into t select n, n * n from c; create index i on t(b); select sum(a), count(*) from t where b > 100;'",
        ..GROUP
    },
    Program {
        name: "Go HTTP server with ab",
        needs: &[("go", "golang-go"), ("ab", "apache2-utils"), ("curl", "curl")],
        prepare: "GOFLAGS=-mod=mod go build -o t $SOURCES/http.go",
        command: "./t & P=$!; for n in $(seq 100); do curl -so /dev/null http://127.0.0.1:$PORT/ && break; sleep 0.1; done; \
                  ab -q -n 3000 -c 8 http://127.0.0.1:$PORT/a > ab.log; ab -q -k -n 3000 -c 8 http://127.0.0.1:$PORT/b >> ab.log; \
                  grep -E 'Complete|Failed' ab.log; curl -s http://127.0.0.1:$PORT/c | md5sum; kill $P; wait",
        breakpoint: "main.main",
        ..GROUP
    },
    Program {
        name: "tokio HTTP server (hyper) with ab",
        needs: &[("cargo", "cargo"), ("ab", "apache2-utils"), ("curl", "curl")],
        prepare: super::TOKIO,
        command: "$SHARED/tokio/release/http & P=$!; for n in $(seq 100); do curl -so /dev/null http://127.0.0.1:$PORT/ && break; sleep 0.1; done; \
                  ab -q -n 3000 -c 8 http://127.0.0.1:$PORT/a > ab.log; ab -q -k -n 3000 -c 8 http://127.0.0.1:$PORT/b >> ab.log; \
                  grep -E 'Complete|Failed' ab.log; curl -s http://127.0.0.1:$PORT/c | md5sum; kill $P; wait",
        breakpoint: "http::main",
        ..GROUP
    },
];
