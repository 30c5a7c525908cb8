/** Writes PostgreSQL's binary COPY format. Source: "Binary Format" of COPY in PostgreSQL's documentation. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { from as copyFrom } from 'pg-copy-streams';
import type { Client } from './connection.ts';

const SIGNATURE = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
const END = Buffer.from([0xff, 0xff]);
const FLOAT4_OID = 700;
/** Bytes that are sent at once, about. */
const BUFFER_BYTES = 1 << 18;

export interface CopyWriter {
  /** Begins a row of so many columns. */
  row(columns: number): void;
  null(): void;
  int(value: number): void;
  float(value: number): void;
  text(value: string): void;
  bytes(value: Uint8Array): void;
  floats(values: Float32Array): void;
}

/** Copies rows into a table. @param write is called once and writes all of them */
export async function copyInto(client: Client, target: string, write: (writer: CopyWriter) => void): Promise<void> {
  const { writer, parts } = createCopyWriter();
  write(writer);
  await pipeline(Readable.from(parts()), client.query(copyFrom(`COPY ${target} FROM STDIN (FORMAT binary)`)));
}

function createCopyWriter(): { writer: CopyWriter; parts: () => Buffer[] } {
  const full: Buffer[] = [SIGNATURE];
  let buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  let at = 0;

  function reserve(bytes: number): void {
    if (at + bytes <= buffer.length) return;
    full.push(buffer.subarray(0, at));
    buffer = Buffer.allocUnsafe(Math.max(BUFFER_BYTES, bytes));
    at = 0;
  }

  function int32(value: number): void {
    at = buffer.writeInt32BE(value, at);
  }

  const writer: CopyWriter = {
    row(columns) {
      reserve(2);
      at = buffer.writeInt16BE(columns, at);
    },
    null() {
      reserve(4);
      int32(-1);
    },
    int(value) {
      reserve(8);
      int32(4);
      int32(value);
    },
    float(value) {
      reserve(8);
      int32(4);
      at = buffer.writeFloatBE(value, at);
    },
    text(value) {
      // A code unit takes three bytes at most.
      reserve(4 + 3 * value.length);
      const length = buffer.write(value, at + 4);
      int32(length);
      at += length;
    },
    bytes(value) {
      reserve(4 + value.length);
      int32(value.length);
      buffer.set(value, at);
      at += value.length;
    },
    floats(values) {
      reserve(24 + 8 * values.length);
      int32(20 + 8 * values.length);
      for (const field of [1, 0, FLOAT4_OID, values.length, 1]) int32(field);
      for (const value of values) {
        int32(4);
        at = buffer.writeFloatBE(value, at);
      }
    },
  };
  return { writer, parts: () => [...full, buffer.subarray(0, at), END] };
}
