/** One recategorization of the catalogue: its states, its settings, what it counts, and when a person must be asked. */

export const RUN_STATES = [
  'planned',
  'running',
  'awaiting_approval',
  'applying',
  'finished',
  'finished_with_rejects',
  'cancelled',
  'failed',
] as const;

export type RunState = (typeof RUN_STATES)[number];

/** In these a run goes on by itself, and holds the lock; `awaiting_approval` holds it too, and a person goes on. */
const WORKING_STATES = ['planned', 'running', 'applying'] as const satisfies RunState[];
export type WorkingState = (typeof WORKING_STATES)[number];

export function isWorking(state: RunState): state is WorkingState {
  return (WORKING_STATES as readonly RunState[]).includes(state);
}

/** Where the products of a run come from: a query, or a table; and which of its columns are what. */
export interface SourceSettings {
  readonly sql?: string;
  /** `name` or `schema.name`. */
  readonly table?: string;
  readonly idColumn: string;
  /** One column that holds an array, or a column for each number. */
  readonly featureColumns: readonly string[];
  /** The category that the product has in the ERP; where there is none, the one that earlier runs gave it counts. */
  readonly categoryColumn?: string;
}

/** What a run must not exceed without a person's consent. */
export interface Guards {
  /** Share of the catalogue, 0 to 1. */
  readonly maxChangeRatio: number;
  /** Share of the catalogue, 0 to 1. */
  readonly maxRejectRatio: number;
  readonly minProducts: number;
}

/** All that decides what a run does; stored with it, so that whoever goes on with it does the same. */
export interface RunSettings extends Guards {
  readonly source: SourceSettings;
  /** Categorizes every product, also those whose input is the same as at their last categorization. */
  readonly full: boolean;
  /** Ends with the report. */
  readonly dryRun: boolean;
  /** A confidence, 0 to 1: what is below it is shown to a person and not applied. */
  readonly reviewBelow: number;
  /** The program writes the category column of the source's table itself, where it still has the category that the run saw. */
  readonly apply?: boolean;
  /** A statement of the ERP's own, run in the transaction of each slice. */
  readonly applySql?: string;
  /** How long the write of a slice waits for a row that somebody else holds; of older runs `DEFAULT_LOCK_TIMEOUT_MS`. */
  readonly lockTimeoutMs?: number;
  /** Products in a chunk, and in a transaction. */
  readonly sliceSize: number;
  readonly maxPendingMiB: number;
}

export const DEFAULT_LOCK_TIMEOUT_MS = 5000;

/** Whether a run writes to the ERP; else it only keeps its own record. */
export function writesToErp({ apply, applySql }: Pick<RunSettings, 'apply' | 'applySql'>): boolean {
  return apply === true || applySql !== undefined;
}

/** A sentence for who gives a statement that cannot see whether somebody else changed a product meanwhile. */
export function warningOf({ applySql }: Pick<RunSettings, 'applySql'>): string | undefined {
  const statement = applySql?.replaceAll(/--.*|\/\*([^*]|\*(?!\/))*\*\//g, '');
  if (statement === undefined || /previous_category_code/i.test(statement)) return undefined;
  return (
    'the statement of --apply-sql does not mention previous_category_code: it may overwrite what somebody changed in the ' +
    'meantime; compare with it, or let the program write the column (--apply)'
  );
}

/** What became of the products of a run. All but `products` and `decided` add up to `products`. */
export interface RunCounts {
  /** Rows that the source gave. */
  readonly products: number;
  /** The same input as at the last categorization: not looked at. */
  readonly skipped: number;
  /** Categorized, with the category that they had. */
  readonly kept: number;
  readonly changed: number;
  /** Had no category before. */
  readonly added: number;
  /** Below the bound of confidence: a person is asked. */
  readonly review: number;
  readonly rejected: number;
  /** Those of `changed` and `added` that a person decided. */
  readonly decided: number;
}

/** Products that are in none of the counts, or (below 0) in more than one: 0 unless something was lost on the way. */
export function unaccountedProducts(counts: RunCounts): number {
  const { products, skipped, kept, changed, added, review, rejected } = counts;
  return products - skipped - kept - changed - added - review - rejected;
}

/** Why a change was not written, though nobody decided so here. */
export const UNWRITTEN_REASONS = {
  changed: 'the ERP changed the category meanwhile: its change stays',
  gone: 'deleted or renumbered in the ERP meanwhile',
  locked: 'the row was locked for too long: the next run looks at the product again',
  untouched: 'the write did not touch the row (a trigger, a policy or the statement itself): the next run tries again',
} as const;

export type UnwrittenReason = keyof typeof UNWRITTEN_REASONS;

/** A product that was not written. */
interface UnwrittenSample {
  readonly productId: string;
  readonly reason: UnwrittenReason;
  /** The category that the run saw, the one that it was to get, and the one that it has. */
  readonly seen: string | null;
  readonly wanted: string | null;
  readonly found: string | null;
}

/** What became of the changes of a run when they were written. */
export interface AppliedCounts extends Readonly<Record<UnwrittenReason, number>> {
  readonly written: number;
  /** Rows that the ERP's own statement touched beyond the changes. */
  readonly excessRows: number;
  readonly samples: readonly UnwrittenSample[];
}

/** Products whose change was not written, for whatever reason. */
export function countUnwritten(applied: AppliedCounts): number {
  return (Object.keys(UNWRITTEN_REASONS) as UnwrittenReason[]).reduce((sum, reason) => sum + applied[reason], 0);
}

/** A guard that holds a run back. */
export interface Hold {
  readonly guard: 'max-change-ratio' | 'max-reject-ratio' | 'min-products';
  readonly message: string;
}

/** Share of the catalogue, 0 to 1; 0 of an empty one. */
export function changedRatio({ changed, products }: RunCounts): number {
  return products === 0 ? 0 : changed / products;
}

/** Why a run must not be applied before a person has looked at it; none where it may. */
export function findHolds(counts: RunCounts, guards: Guards): Hold[] {
  const { products, changed, rejected } = counts;
  const rejectedRatio = products === 0 ? 0 : rejected / products;
  const holds: Hold[] = [];
  if (products < guards.minProducts) {
    const message = `the source gave ${products} products, fewer than ${guards.minProducts} (--min-products)`;
    holds.push({ guard: 'min-products', message });
  }
  if (changedRatio(counts) > guards.maxChangeRatio) {
    const message = `${changed} of ${products} products would change their category: ${exceeding(changedRatio(counts), guards.maxChangeRatio)} (--max-change-ratio)`;
    holds.push({ guard: 'max-change-ratio', message });
  }
  if (rejectedRatio > guards.maxRejectRatio) {
    const message = `${rejected} of ${products} products were rejected: ${exceeding(rejectedRatio, guards.maxRejectRatio)} (--max-reject-ratio)`;
    holds.push({ guard: 'max-reject-ratio', message });
  }
  return holds;
}

/** `2.35 %, more than 2 %`, with as many digits as it takes to tell them apart. */
function exceeding(ratio: number, bound: number): string {
  const percent = (share: number, digits: number) => `${Number((100 * share).toPrecision(digits))} %`;
  let digits = 6;
  while (digits < 17 && percent(ratio, digits) === percent(bound, digits)) digits++;
  return `${percent(ratio, digits)}, more than ${percent(bound, digits)}`;
}
