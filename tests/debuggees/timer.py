# Computes for about two seconds while an interval timer of 10 ms interrupts it. The number of ticks differs from run
# to run, so only the result of the computation is printed, and that there were ticks.
import signal
import sys

ticks = 0


def on_alarm(number, frame):
    global ticks
    ticks += 1


signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 6_000_000
table = {}
total = 0
for i in range(rounds):
    total = (total * 31 + i) & 0xFFFFFFFF
    if i % 1000 == 0:
        table[total % 997] = str(total)
signal.setitimer(signal.ITIMER_REAL, 0, 0)
print(total, len(table), "ticks" if ticks > 0 else "no ticks")
