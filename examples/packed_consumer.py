"""Prints what became of the products of a run, and takes it off the queue: packed_consumer.py RUN"""

import asyncio, os, struct, sys, zlib

from bullmq import Queue
from redis.asyncio import Redis

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
PREFIX = os.environ.get("QUEUE_PREFIX", "{categorizer}")


async def collect(run):
    redis = Redis.from_url(URL)
    queue = Queue("product-categories", {"connection": URL, "prefix": PREFIX})
    printed = f"{PREFIX}:printed:{run}"  # ids of results: one may come a second time
    for job in await queue.getWaiting():
        data = job.data
        if job.name != "categories.packed" or data.get("runId") != run:
            continue
        if not await redis.sismember(printed, job.id):
            payload, n = await redis.get(data["payload"]), data["count"]
            if payload is None or (len(payload), zlib.crc32(payload)) != (data["bytes"], data["crc32"]):
                print(f"{job.id}: its payload is gone or damaged; left there", file=sys.stderr)
                continue
            start = (2 * n + 3) // 4 * 4
            indexes = struct.unpack_from(f"<{n}H", payload)
            confidences = struct.unpack_from(f"<{n}f", payload, start)
            codes = {reject["row"]: reject["code"] for reject in data["rejects"]}
            for row, product in enumerate(payload[start + 4 * n :].decode().split("\n")):
                code = codes.get(row) or data["categories"][indexes[row]]
                print(product, code, f"{confidences[row]:.6f}", sep="\t")
            sys.stdout.flush()
            await redis.sadd(printed, job.id)
            await redis.expire(printed, 30 * 24 * 3600)
        await queue.remove(job.id)
        await redis.unlink(data["payload"])
    await queue.close()
    await redis.aclose()


asyncio.run(collect(sys.argv[1]))
