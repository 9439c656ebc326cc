import os
import socket
import time

for _ in range(50):
    try:
        server = socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))
        break
    except OSError:
        time.sleep(0.1)
stream = server.makefile('rwb')
for n in range(3000):
    stream.write(b'set k%d 0 0 3\r\nabc\r\n' % n)
    stream.flush()
    assert stream.readline() == b'STORED\r\n'
for n in range(3000):
    stream.write(b'get k%d\r\n' % n)
    stream.flush()
    stream.readline()
    assert stream.readline() == b'abc\r\n'
    stream.readline()
print('good')
