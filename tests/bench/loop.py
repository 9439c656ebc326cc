# An interpreter's loop: computing without system calls.
x = 0
for i in range(8_000_000):
    x = (x * 31 + i) % 1000003
print(x)
