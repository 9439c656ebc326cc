import asyncio


async def one(n):
    child = await asyncio.create_subprocess_exec('echo', str(n), stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    await asyncio.sleep(0.01)
    return int(out)


async def main():
    print(sum(await asyncio.gather(*(one(n) for n in range(60)))))


asyncio.run(main())
