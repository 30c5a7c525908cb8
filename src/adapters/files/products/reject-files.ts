import { realpathSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { RejectedRow, RejectSink } from '../../../application/ports.ts';
import { CategorizerError } from '../../../domain/errors.ts';
import { type AtomicFile, createAtomicFile } from '../atomic-file.ts';
import type { FileProductSource } from './product-source.ts';
import { bufferEncoding } from './table-input.ts';

type Input = FileProductSource['inputs'][number];

/** Where the rejects of one input go. */
interface Paths {
  /** The rows as they came, ready to be mended and sent again. */
  readonly rows: string;
  /** What is wrong with them. */
  readonly reasons: string;
}

/**
 * Two files for each input that has rejects: the rows as they came, in the columns and the encoding of the input
 * (`<input>.rejects.csv` or `<input>.rejects.rows.jsonl`), and what is wrong with them, a line for each error
 * (`<input>.rejects.jsonl`). Where nothing is rejected there are none, and those of an earlier call are removed.
 *
 * @param options.base instead of `<input>.rejects` where there is one input, or a directory for the files of all
 * @throws CategorizerError `OUTPUT_CONFLICT` where an input, or the rejects of another, would be overwritten
 */
export function createRejectFiles(options: {
  readonly inputs: FileProductSource['inputs'];
  readonly base?: string;
}): RejectSink {
  const { inputs } = options;
  const paths = inputs.map((input) => pathsOf(input, baseOf(input, options)));
  refuseConflicts(inputs, paths);
  const files = new Map<number, { readonly rows: AtomicFile; readonly reasons: AtomicFile }>();

  async function open(number: number): Promise<{ rows: AtomicFile; reasons: AtomicFile }> {
    const { header, encoding } = inputs[number];
    const rows = await createAtomicFile(paths[number].rows, bufferEncoding(encoding));
    const reasons = await createAtomicFile(paths[number].reasons);
    files.set(number, { rows, reasons });
    if (header !== undefined) await rows.write(`${header}\n`);
    return { rows, reasons };
  }

  return {
    async write(row) {
      const { rows, reasons } = files.get(row.input) ?? (await open(row.input));
      await rows.write(`${row.raw}\n`);
      await reasons.write(describeErrors(row, inputs[row.input].path));
    },
    async commit() {
      const written: string[] = [];
      for (const [number, { rows, reasons }] of paths.entries()) {
        const opened = files.get(number);
        if (opened) {
          await opened.rows.commit();
          await opened.reasons.commit();
          written.push(rows, reasons);
        } else {
          await Promise.all([rm(rows, { force: true }), rm(reasons, { force: true })]);
        }
      }
      return written;
    },
    async abort() {
      for (const { rows, reasons } of files.values()) {
        await rows.abort();
        await reasons.abort();
      }
    },
  };
}

function describeErrors({ line, productId, errors }: RejectedRow, file: string): string {
  const lines = errors.map(({ column = null, code, message }) => {
    return `${JSON.stringify({ file, line, column, productId, code, message })}\n`;
  });
  return lines.join('');
}

function baseOf({ path }: Input, { inputs, base }: { inputs: readonly Input[]; base?: string }): string {
  // Beside a device or a pipe there is no place for files.
  const own = path === '-' || path.startsWith('/dev/') || path.startsWith('/proc/') ? 'stdin' : path;
  if (base === undefined) return `${own}.rejects`;
  if (base.endsWith('/') || isDirectory(base)) return join(base, `${basename(own)}.rejects`);
  if (inputs.length === 1) return base;
  throw new CategorizerError(
    'OUTPUT_CONFLICT',
    `the rejects of ${inputs.length} files cannot all go to ${base}: name a directory`,
  );
}

function pathsOf({ format }: Input, base: string): Paths {
  return { rows: format === 'jsonl' ? `${base}.rows.jsonl` : `${base}.csv`, reasons: `${base}.jsonl` };
}

function refuseConflicts(inputs: readonly Input[], paths: readonly Paths[]): void {
  const all = paths.flatMap(({ rows, reasons }) => [rows, reasons]);
  const overwritten = inputs.find(({ path }) => all.some((target) => isSameFile(target, path)));
  if (overwritten) {
    throw new CategorizerError(
      'OUTPUT_CONFLICT',
      `the rejects would overwrite ${overwritten.path}: name another place with --rejects`,
    );
  }
  const twice = all.find((target, i) => all.indexOf(target) !== i);
  if (twice === undefined) return;
  throw new CategorizerError(
    'OUTPUT_CONFLICT',
    `the rejects of two inputs would both go to ${twice}: name another place with --rejects`,
  );
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Also where one of them is a link. A file that is not there yet is no other. */
function isSameFile(a: string, b: string): boolean {
  try {
    return realpathSync(a) === realpathSync(b);
  } catch {
    return false;
  }
}
