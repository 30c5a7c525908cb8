import { CategorizerError } from '../../../domain/errors.ts';
import { firstLineOf } from '../duckdb.ts';

/** The error of an input, naming it. What was said on purpose keeps its code. */
export function notReadable(path: string, cause: unknown): CategorizerError {
  if (cause instanceof CategorizerError && ABOUT_ROWS.has(cause.code)) return cause;
  const name = path === '-' ? 'standard input' : path;
  const code = cause instanceof CategorizerError ? cause.code : 'INPUT_NOT_READABLE';
  return new CategorizerError(code, `cannot read ${name}: ${firstLineOf(cause)}`, { cause });
}

/** What is wrong with the rows of all inputs together is wrong with none of them. */
const ABOUT_ROWS: ReadonlySet<string> = new Set(['TOO_MANY_DUPLICATES', 'TOO_MANY_REJECTS']);

/** Names the input in whatever goes wrong with it. Where it was stopped, that is what went wrong. */
export async function namingInput<T>(path: string, stop: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    stop.throwIfAborted();
    throw notReadable(path, error);
  }
}
