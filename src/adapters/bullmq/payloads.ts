import type { Redis } from 'ioredis';
import { payloadKeyStart } from '../../contract/index.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';

/** A payload as its job or result names it. */
export interface PayloadRef {
  /** Id of the job or result that names it. */
  readonly owner: string;
  readonly key: string;
}

/** The binary values beside the jobs. Whatever a job says, only keys that begin with its own id are touched. */
export interface Payloads {
  /**
   * Reads no more than was announced.
   *
   * @param bytes its length, as its job announces it
   * @throws CategorizerError `PAYLOAD_MISSING`; `PAYLOAD_INVALID` where it is longer than announced; `INVALID_JOB` where
   *   the key is not that of a payload of its owner
   */
  read(payload: PayloadRef & { readonly bytes: number }): Promise<Buffer>;
  write(key: string, payload: Buffer): Promise<void>;
  /** Doing it again changes nothing. */
  remove(payloads: readonly PayloadRef[]): Promise<void>;
}

/** @param options.ttlHours after which Redis drops what was written */
export function createPayloads(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly ttlHours: number;
}): Payloads {
  const { connection, prefix, ttlHours } = options;

  /** Ids have no colon, but those that BullMQ's job schedulers make: without the second check `a` would own what is `a:b`'s. */
  function isOwn({ owner, key }: PayloadRef): boolean {
    const start = payloadKeyStart(prefix, owner);
    return key.startsWith(start) && !key.slice(start.length).includes(':');
  }

  async function getBytes(key: string, bytes: number): Promise<Buffer> {
    try {
      // One byte more, so that a longer one is seen; what is half a gigabyte does not arrive.
      return await connection.getrangeBuffer(key, 0, bytes);
    } catch (error) {
      if (!messageOf(error).startsWith('WRONGTYPE')) throw error;
      throw new CategorizerError('INVALID_JOB', `payload: the key ${key} holds no payload`);
    }
  }

  return {
    async read({ owner, key, bytes }) {
      if (!isOwn({ owner, key })) {
        const message = `payload: expected a key that begins with ${payloadKeyStart(prefix, owner)}, the id of its own job`;
        throw new CategorizerError('INVALID_JOB', message);
      }
      const payload = await getBytes(key, bytes);
      if (payload.length > bytes) {
        throw new CategorizerError('PAYLOAD_INVALID', `the payload has more than the ${bytes} bytes its job announces`);
      }
      // One that is empty is told from none: it is not as announced, and sending it again changes nothing.
      if (payload.length > 0 || (await connection.exists(key)) === 1) return payload;
      throw new CategorizerError('PAYLOAD_MISSING', `there is no payload ${key} (any more): send the chunk again`);
    },
    async write(key, payload) {
      await connection.set(key, payload, 'EX', Math.round(ttlHours * 3600));
    },
    async remove(payloads) {
      const own = payloads.filter(isOwn).map(({ key }) => key);
      if (own.length > 0) await connection.unlink(...own);
    },
  };
}
