/** Which of very many hashes stand more than once, in little memory: they are sorted into buckets on disk. */
import { type FileHandle, open } from 'node:fs/promises';
import { createHashSet, type HashSet } from './hash-set.ts';

const BUCKET_BITS = 6;
const BUCKETS = 1 << BUCKET_BITS;
/** Of one bucket in memory, before they are written. */
const BLOCK_HASHES = 8192;
const HASH_BYTES = 8;

export interface RepeatedHashes {
  /** @param hashes 64 bits each, the lower half first */
  add(hashes: Uint32Array): Promise<void>;
  /** Those that were added more than once. @param enough ends the search when so many were found */
  find(enough: number): Promise<HashSet>;
  close(): Promise<void>;
}

interface Bucket {
  readonly block: Uint32Array;
  /** Halves in the block. */
  length: number;
  /** Where its full blocks stand in the file. */
  readonly positions: number[];
}

/** @param file where the buckets may be written */
export function createRepeatedHashes(file: string): RepeatedHashes {
  const buckets: Bucket[] = Array.from({ length: BUCKETS }, () => {
    return { block: new Uint32Array(2 * BLOCK_HASHES), length: 0, positions: [] };
  });
  let handle: FileHandle | undefined;
  let fileBytes = 0;

  async function write(bucket: Bucket): Promise<void> {
    handle ??= await open(file, 'w+');
    const bytes = new Uint8Array(bucket.block.buffer);
    await handle.write(bytes, 0, bytes.length, fileBytes);
    bucket.positions.push(fileBytes);
    fileBytes += bytes.length;
    bucket.length = 0;
  }

  async function findIn({ block, length, positions }: Bucket, seen: HashSet, repeated: HashSet): Promise<void> {
    seen.clear();
    takeRepeated(block.subarray(0, length), seen, repeated);
    const bytes = new Uint8Array(BLOCK_HASHES * HASH_BYTES);
    for (const position of positions) {
      await handle?.read(bytes, 0, bytes.length, position);
      takeRepeated(new Uint32Array(bytes.buffer), seen, repeated);
    }
  }

  return {
    async add(hashes) {
      for (let i = 0; i < hashes.length; i += 2) {
        const bucket = buckets[hashes[i + 1] >>> (32 - BUCKET_BITS)];
        bucket.block[bucket.length++] = hashes[i];
        bucket.block[bucket.length++] = hashes[i + 1];
        if (bucket.length === bucket.block.length) await write(bucket);
      }
    },
    async find(enough) {
      const repeated = createHashSet();
      // All buckets are about as full.
      const seen = createHashSet((fileBytes / HASH_BYTES / BUCKETS) * 1.1);
      for (const bucket of buckets) if (repeated.size < enough) await findIn(bucket, seen, repeated);
      return repeated;
    },
    close: async () => handle?.close(),
  };
}

function takeRepeated(hashes: Uint32Array, seen: HashSet, repeated: HashSet): void {
  for (let i = 0; i < hashes.length; i += 2) {
    if (!seen.add(hashes[i], hashes[i + 1])) repeated.add(hashes[i], hashes[i + 1]);
  }
}
