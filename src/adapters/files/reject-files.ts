import { realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { RejectSink } from '../../application/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { type AtomicFile, createAtomicFile } from './atomic-file.ts';
import type { InputFormat } from './product-source.ts';

/**
 * Two files for the rows that were rejected: the rows as they came, ready to be mended and sent again
 * (`<base>.csv` or `<base>.rows.jsonl`), and beside them what is wrong with each (`<base>.jsonl`).
 * Where nothing is rejected there are none, and those of an earlier call are removed.
 */
export function createRejectFiles(options: {
  readonly base: string;
  /** The file that is read; it must not be overwritten with its own rejects. */
  readonly input: string;
  readonly format: InputFormat;
  readonly header: string | undefined;
}): RejectSink {
  const { base, input, format, header } = options;
  const paths = { rows: format === 'csv' ? `${base}.csv` : `${base}.rows.jsonl`, reasons: `${base}.jsonl` };
  if (Object.values(paths).some((path) => isSameFile(path, input))) {
    throw new CategorizerError(
      'OUTPUT_CONFLICT',
      `the rejects would overwrite ${input}: name another place with --rejects`,
    );
  }
  let files: { rows: AtomicFile; reasons: AtomicFile } | undefined;

  async function open(): Promise<{ rows: AtomicFile; reasons: AtomicFile }> {
    const opened = { rows: await createAtomicFile(paths.rows), reasons: await createAtomicFile(paths.reasons) };
    if (header !== undefined) await opened.rows.write(`${header}\n`);
    return opened;
  }

  return {
    async write({ line, raw, product }, { code, message }) {
      files ??= await open();
      await files.rows.write(`${raw}\n`);
      await files.reasons.write(`${JSON.stringify({ line, productId: product?.productId, code, message })}\n`);
    },
    async commit() {
      if (!files) {
        await Promise.all([rm(paths.rows, { force: true }), rm(paths.reasons, { force: true })]);
        return [];
      }
      await files.rows.commit();
      await files.reasons.commit();
      return [paths.rows, paths.reasons];
    },
    async abort() {
      await files?.rows.abort();
      await files?.reasons.abort();
    },
  };
}

/** Also where one of them is a link. A file that is not there yet is no other. */
function isSameFile(a: string, b: string): boolean {
  try {
    return realpathSync(a) === realpathSync(b);
  } catch {
    return false;
  }
}
