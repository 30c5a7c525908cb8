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
  /** A statement of the ERP's own, run in the transaction of each slice. */
  readonly applySql?: string;
  /** Products in a chunk, and in a transaction. */
  readonly sliceSize: number;
  readonly maxPendingMiB: number;
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
