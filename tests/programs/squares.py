import multiprocessing


def square(n):
    return sum(k * n for k in range(200))


if __name__ == '__main__':
    with multiprocessing.Pool(4) as pool:
        print(sum(pool.map(square, range(20000))))
