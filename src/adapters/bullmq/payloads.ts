import type { Redis } from 'ioredis';
import { payloadKeyStart } from '../../contract/index.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';

/** The binary values beside the jobs. Only keys of this prefix are touched, whatever a job says. */
export interface Payloads {
  /** @throws CategorizerError `PAYLOAD_MISSING`, or `INVALID_JOB` where the key is none of a payload */
  read(key: string): Promise<Buffer>;
  write(key: string, payload: Buffer): Promise<void>;
  /** Doing it again changes nothing. */
  remove(keys: readonly string[]): Promise<void>;
}

/** @param options.ttlHours after which Redis drops what was written */
export function createPayloads(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly ttlHours: number;
}): Payloads {
  const { connection, prefix, ttlHours } = options;
  const isPayload = (key: string) => key.startsWith(payloadKeyStart(prefix));

  async function getBytes(key: string): Promise<Buffer | null> {
    try {
      return await connection.getBuffer(key);
    } catch (error) {
      if (!messageOf(error).startsWith('WRONGTYPE')) throw error;
      throw new CategorizerError('INVALID_JOB', `payload: the key ${key} holds no payload`);
    }
  }

  return {
    async read(key) {
      if (!isPayload(key)) {
        throw new CategorizerError('INVALID_JOB', `payload: expected a key below ${payloadKeyStart(prefix)}`);
      }
      const payload = await getBytes(key);
      if (payload) return payload;
      throw new CategorizerError('PAYLOAD_MISSING', `there is no payload ${key} (any more): send the chunk again`);
    },
    async write(key, payload) {
      await connection.set(key, payload, 'EX', Math.round(ttlHours * 3600));
    },
    async remove(keys) {
      const own = keys.filter(isPayload);
      if (own.length > 0) await connection.unlink(...own);
    },
  };
}
