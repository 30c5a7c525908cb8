import { throwIfStopped } from '../stopping.ts';
import type { SlicePart, WriteOutcome } from './ports.ts';

/**
 * How many lock timeouts a run, or a revert, spends on rows that others hold, before it gives up what is still locked: two
 * minutes with the default of five seconds.
 */
const PATIENCE = 24;
/** What a hasty try costs of it. */
const HASTY = 1 / 20;
/** How often rows that stayed locked are tried again, after everything else. */
const ROUNDS = 3;

export interface SliceWriter {
  write(slice: number, part: SlicePart): Promise<WriteOutcome>;
  /** What of the slice is still to be written. */
  open(slice: number): Promise<readonly string[]>;
}

/**
 * Writes slice by slice, each in one transaction. Where somebody else holds a row, the slice is halved until only what is
 * locked is left; that is tried again when all the rest is written. So nobody waits for us longer than about the lock
 * timeout, and one row in an open transaction of the ERP holds up no other.
 *
 * @returns the products that are still locked, by slice
 * @throws CategorizerError `INTERRUPTED`, and what the writer throws; called again it goes on
 */
export async function writeSlices(
  { write, open }: SliceWriter,
  slices: readonly number[],
  stop: AbortSignal,
  whenStopped?: string,
): Promise<ReadonlyMap<number, readonly string[]>> {
  let patience = PATIENCE;
  let locked: { readonly slice: number; readonly productIds: readonly string[] }[] = [];

  async function attempt(slice: number, part: SlicePart): Promise<WriteOutcome> {
    throwIfStopped(stop, whenStopped);
    const outcome = await write(slice, part);
    if (outcome === 'locked') patience -= part.hasty ? HASTY : 1;
    return outcome;
  }

  /** All of these, in as many parts as it takes. */
  async function divide(slice: number, productIds: readonly string[]): Promise<void> {
    const parts = halves(productIds);
    for (let part = parts.pop(); part; part = parts.pop()) {
      const outcome = await attempt(slice, { productIds: part, hasty: true });
      if (outcome === 'written') continue;
      if (part.length === 1 || (outcome === 'locked' && patience <= 0)) locked.push({ slice, productIds: part });
      else parts.push(...halves(part));
    }
  }

  for (const slice of slices) {
    if ((await attempt(slice, { hasty: patience <= 0 })) !== 'written') await divide(slice, await open(slice));
  }
  for (let round = 0; locked.length > 0 && round < (patience > 0 ? ROUNDS : 1); round++) {
    const again = locked;
    locked = [];
    for (const { slice, productIds } of again) {
      const outcome = await attempt(slice, { productIds, hasty: patience <= 0 || productIds.length > 1 });
      if (outcome === 'written') continue;
      if (outcome === 'short') await divide(slice, productIds);
      else locked.push({ slice, productIds });
    }
  }
  const left = new Map<number, string[]>();
  for (const { slice, productIds } of locked) left.set(slice, [...(left.get(slice) ?? []), ...productIds]);
  return left;
}

/** The first half last: it is taken from the end. */
function halves(productIds: readonly string[]): (readonly string[])[] {
  const middle = Math.ceil(productIds.length / 2);
  return [productIds.slice(middle), productIds.slice(0, middle)].filter((half) => half.length > 0);
}
