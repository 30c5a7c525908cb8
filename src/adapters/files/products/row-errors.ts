/** Everything that is wrong with the values of a row, in words and with the names of its columns. */
import type { RowError } from '../../../application/ports.ts';
import type { RejectReason } from '../../../domain/errors.ts';
import { describe, MAX_FLOAT32 } from '../../../domain/features.ts';
import { checkProductId } from '../../../domain/product.ts';
import type { ChosenColumns } from './columns.ts';

export interface RowValues {
  readonly id: unknown;
  /** Numbers, and whatever else stands where one should; no array where the features are none. */
  readonly features: unknown;
}

/** @param hint what to add about a value that is no number */
export function findRowErrors(
  { id, features }: RowValues,
  { columns, width }: { readonly columns: ChosenColumns; readonly width: number },
  hint: (value: unknown) => string = () => '',
): RowError[] {
  const errors: RowError[] = [];
  const idReason = checkProductId(id);
  if (idReason) errors.push(inColumn(idReason, columns.id));
  const column = (i: number) => ('array' in columns.features ? columns.features.array : columns.features.each[i]);
  if (!Array.isArray(features) || features.length !== width) {
    const got = Array.isArray(features) ? String(features.length) : describe(features);
    errors.push(inColumn({ code: 'WRONG_WIDTH', message: `expected ${width} features, got ${got}` }, column(0)));
    return errors;
  }
  for (const [i, value] of features.entries()) {
    if (typeof value === 'number' && Math.abs(value) <= MAX_FLOAT32) continue;
    const message = `feature ${i} is not a finite float32 number: ${describe(value)}${hint(value)}`;
    errors.push(inColumn({ code: 'NON_FINITE_FEATURE', message }, column(i)));
  }
  return errors;
}

function inColumn({ code, message }: RejectReason, column: string): RowError {
  return { code, message, column };
}
