import queue
import threading

jobs, done = queue.Queue(10), []


def work():
    while (item := jobs.get()) is not None:
        done.append(sum(range(item)))


threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for n in range(8000):
    jobs.put(n)
for _ in threads:
    jobs.put(None)
for thread in threads:
    thread.join()
print(len(done), sum(done))
