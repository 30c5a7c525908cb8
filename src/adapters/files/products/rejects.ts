/** What is wrong with the rows that were rejected. The rows are read again for it, where there are any. */
import type { RejectedRow, RowError } from '../../../application/ports.ts';
import { notReadable } from './input-error.ts';
import { checkUnchanged } from './input-files.ts';
import type { ProductReader } from './product-reader.ts';
import type { ExplainedRow, TableInput } from './table-input.ts';

const UNEXPLAINED: RowError = { code: 'INVALID_ROW', message: 'it cannot be read as a product' };
const DUPLICATE: RowError = {
  code: 'DUPLICATE_PRODUCT_ID',
  message: 'the product id stands more than once in this import',
};

/** @throws CategorizerError `INPUT_NOT_READABLE`, also where the rows are not found again */
export async function* explainRejects(
  inputs: readonly TableInput[],
  reader: ProductReader,
  stop: AbortSignal,
): AsyncGenerator<RejectedRow> {
  for (const [number, input] of inputs.entries()) {
    const rows = reader.rejectedRows(input);
    if (rows.size === 0) continue;
    try {
      await checkUnchanged(input.file);
      let found = 0;
      for await (const row of input.explain(rows)) {
        found++;
        yield { input: number, ...row, errors: allErrors(row, reader) };
        stop.throwIfAborted();
      }
      if (found !== rows.size) throw new Error(`${found} rows were found again of ${rows.size} that were rejected`);
    } catch (error) {
      stop.throwIfAborted();
      throw notReadable(input.file.path, error);
    }
  }
}

function allErrors({ productId, errors }: ExplainedRow, reader: ProductReader): readonly RowError[] {
  const all = productId !== null && reader.isDuplicate(productId) ? [...errors, DUPLICATE] : errors;
  return all.length > 0 ? all : [UNEXPLAINED];
}
