set -m
sleep 0.2 & sleep 0.1 & jobs | wc -l
(sleep 5; echo never) & kill -STOP %3; kill -CONT %3; kill %3; wait %1 %2; echo $?
trap 'echo got it' USR1; kill -USR1 $$
for n in 1 2 3; do (exit $n) & wait $!; echo $?; done
