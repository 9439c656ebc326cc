# Computing under an interval timer of 10 ms; the argument is the size of the live heap in megabytes.
import signal
import sys

heap = [bytearray(4096) for _ in range(int(sys.argv[1]) * 256)]
ticks = 0


def tick(number, frame):
    global ticks
    ticks += 1


signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
x = 0
for i in range(8_000_000):
    x = (x * 31 + i) % 1000003
    if heap and i % 64 == 0:
        heap[x % len(heap)][i % 4096] = 1
signal.setitimer(signal.ITIMER_REAL, 0, 0)
print(x, ticks > 10)
