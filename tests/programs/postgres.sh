# A database from its making to its end, as a user who is not root; in the folder where it is called.
export PATH=/usr/lib/postgresql/15/bin:$PATH HOME=$PWD LC_ALL=C PGHOST=127.0.0.1 PGPORT=$PORT
rm -rf data
initdb -D data -A trust -U me -N > initdb.log || exit
pg_ctl -D data -o "-p $PORT -k '' -h 127.0.0.1 -F" -l server.log -w start > start.log || exit
export PGUSER=me
createdb bench && pgbench -q -i bench 2> init.log > init.out && pgbench -n -c 4 -j 2 -t 100 bench 2> bench.log > bench.out
grep processed: bench.out
psql -At bench -c 'select count(*), sum(delta) is not null from pgbench_history'
pg_ctl -D data -m fast -w stop > stop.log
