"""Sends the products of a CSV file (product_id, then the features): packed_producer.py FILE RUN"""

import asyncio, csv, itertools, math, os, struct, sys, zlib

from bullmq import Queue
from redis.asyncio import Redis

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
PREFIX = os.environ.get("QUEUE_PREFIX", "{categorizer}")
CHUNK = 8192  # products in a job: at most 10,000, and 16 MiB


def pack(features, width):
    try:
        return struct.pack(f"<{width}f", *map(float, features))
    except (ValueError, OverflowError, struct.error):  # no vector of this width: NaN, so that it is rejected alone
        return struct.pack(f"<{width}f", *[math.nan] * width)


async def send(file, run):
    redis = Redis.from_url(URL)
    queue = Queue("product-categorization", {"connection": URL, "prefix": PREFIX})
    rows = filter(None, csv.reader(file))
    width = len(next(rows)) - 1
    for n, chunk in enumerate(iter(lambda: list(itertools.islice(rows, CHUNK)), [])):
        ids = "\n".join(row[0].replace("\n", "\t") for row in chunk)  # as bad in an id, but it rejects only that one
        payload = b"".join(pack(row[1:], width) for row in chunk) + ids.encode()
        job, crc = f"{run}-{n}", zlib.crc32(payload)
        key = f"{PREFIX}:payload:{job}:{crc:08x}"
        data = {"count": len(chunk), "width": width, "payload": key, "bytes": len(payload), "crc32": crc, "runId": run}
        await redis.set(key, payload, ex=7 * 24 * 3600)  # first: the job must find it
        await queue.add("products.packed", data, {"jobId": job})
    await queue.close()
    await redis.aclose()


with open(sys.argv[1], newline="", encoding="utf-8") as file:
    asyncio.run(send(file, sys.argv[2]))
