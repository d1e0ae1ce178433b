"""What Docker does for ``ports``: ``python published.py HOST PORT TARGET PORT ...`` passes bytes on."""

import asyncio
import sys


async def publish(host: str, port: int, target: str, target_port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(target, target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    async with await asyncio.start_server(serve, host, port) as server:
        await server.serve_forever()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # one side has gone; the other is told below
    finally:
        writer.close()


async def main(words: list[str]) -> None:
    fours = [words[n : n + 4] for n in range(0, len(words), 4)]
    await asyncio.gather(*(publish(a, int(b), c, int(d)) for a, b, c, d in fours))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
