/**
 * What a recategorization needs from outside:
 *
 * - catalogue: all products of the ERP, each with its feature vector and its present category
 * - run: one recategorization of the catalogue
 * - slice: the products of one chunk of a run, and of one transaction when it is applied
 * - review: a product whose category a person should decide, or has decided
 */
import type { ModelInfo } from '../../domain/category.ts';
import type { ErrorCode } from '../../domain/errors.ts';
import type { FeatureMatrix } from '../../domain/features.ts';
import type { ProductTable } from '../../domain/product.ts';
import type { AppliedCounts, Hold, RunCounts, RunSettings, RunState, SourceSettings } from '../../domain/run.ts';
import type { CollectedResult } from '../ports.ts';

/** Bytes of an input hash. */
export const INPUT_HASH_BYTES = 16;

/** A hash of everything that decides what the model says of a product: `INPUT_HASH_BYTES` for each row. */
export type InputHash = (features: FeatureMatrix) => Uint8Array;

/** Enough of a model to know whether another one is the same. */
export interface UsedModel extends Pick<ModelInfo, 'version' | 'sha256'> {
  /** Codes, in the order of the model's outputs. */
  readonly categories: readonly string[];
}

export interface Run {
  readonly id: string;
  /** The schedule that it belongs to, or `manual`. */
  readonly name: string;
  readonly state: RunState;
  readonly stateSince: Date;
  readonly settings: RunSettings;
  readonly model: UsedModel;
  readonly createdAt: Date;
  /** Since when it holds the lock. */
  readonly lockedSince?: Date;
  /** Complete from the report on. */
  readonly counts?: RunCounts;
  /** What became of its changes; from its end on, and not of a dry run. */
  readonly applied?: AppliedCounts;
  readonly holds?: readonly Hold[];
  /** Who approved, rejected or cancelled it. */
  readonly decidedBy?: string;
  readonly finishedAt?: Date;
  readonly revertStartedAt?: Date;
  readonly revertedAt?: Date;
  readonly failure?: { readonly state: RunState; readonly code: string; readonly message: string };
}

/** What changes together with the state of a run. */
interface RunChange {
  readonly holds?: readonly Hold[];
  readonly decidedBy?: string;
  readonly failure?: Run['failure'];
}

/** The runs. A working run, one that waits for approval and one that is being reverted hold the one lock. */
export interface RunRegistry {
  /** @throws CategorizerError `RUN_LOCKED` where another holds the lock, `RUN_CONFLICT` where the id is taken */
  create(run: { id: string; name: string; settings: RunSettings; model: ModelInfo }): Promise<Run>;
  get(id: string): Promise<Run | undefined>;
  /** The newest first. */
  list(options: { readonly limit: number; readonly name?: string }): Promise<readonly Run[]>;
  /** Who holds the lock. */
  locked(): Promise<Run | undefined>;
  /**
   * Changes the state where it still is one of `from`, and nothing of the run was reverted; the lock follows the state.
   *
   * @returns whether it was
   * @throws CategorizerError `RUN_LOCKED` where the new state needs the lock and another run holds it
   */
  change(id: string, from: readonly RunState[], to: RunState, change?: RunChange): Promise<boolean>;
  /** Puts a statement in the place of what failed, be it another or the program's own; what it has done stays done. */
  setApplySql(id: string, applySql: string): Promise<void>;
}

/** A stretch of the catalogue in flat arrays: place i of each belongs to the same product. */
export interface CataloguePage {
  /** Valid ones, each id once in all pages. */
  readonly products: ProductTable;
  /** Where the id of each product ends in `products.ids`, its line feed not included. */
  readonly idEnds: Uint32Array;
  /** The category that it has now. */
  readonly currentCategories: readonly (string | null)[];
  /** Of its last categorization, `INPUT_HASH_BYTES` for each product: zeros where there was none. */
  readonly inputHashes: Uint8Array;
  /** What people decided, by place. */
  readonly decisions: ReadonlyMap<number, FoundDecision>;
  /** Rows of the source that are no valid products. */
  readonly rejects: readonly CatalogueReject[];
}

interface Decision {
  readonly categoryCode: string;
  readonly decidedBy: string;
}

export interface FoundDecision extends Decision {
  /** The vector that goes with it as training data is not known yet. */
  readonly lacksFeatures: boolean;
  /** The ERP set the present category after it, while it was to be written: it rests. */
  readonly overruled?: boolean;
}

export interface CatalogueReject {
  readonly code: ErrorCode;
  readonly message: string;
  /** As it came; null where there was none. */
  readonly productId: string | null;
}

export interface Catalogue {
  /**
   * All products as of one moment, in pages of any size up to `pageRows`. Memory does not grow with their number.
   *
   * @throws CategorizerError `SOURCE_INVALID` where the settings do not fit the database
   */
  read(
    source: SourceSettings,
    options: {
      readonly width: number;
      readonly pageRows: number;
      /** What earlier runs recorded is the present category, and the source's only where they recorded none. */
      readonly recordCounts: boolean;
    },
  ): AsyncIterable<CataloguePage>;
}

/** Products whose input changed, in the order of the source. */
export interface PlannedSlice {
  readonly number: number;
  readonly products: ProductTable;
  readonly currentCategories: readonly (string | null)[];
  /** `INPUT_HASH_BYTES` for each product. */
  readonly inputHashes: Uint8Array;
}

/** A product that will have the category that a person decided. */
export interface DecidedProduct extends Decision {
  readonly productId: string;
  readonly currentCategory: string | null;
  readonly inputHash: Uint8Array;
}

/** Takes the plan of a run; nothing of it is there before all of it is. */
export interface PlanSink {
  slice(slice: PlannedSlice): Promise<void>;
  /** A slice without the model. */
  decided(number: number, products: readonly DecidedProduct[]): Promise<void>;
  rejects(rejects: readonly CatalogueReject[]): Promise<void>;
  /** The vector of a product that a person decided, for training data. */
  decidedFeatures(productId: string, features: Float32Array): Promise<void>;
}

export interface SliceState {
  readonly number: number;
  readonly products: number;
  /** How often its chunk was given up for lost and sent again. */
  readonly sends: number;
  readonly staged: boolean;
  readonly applied: boolean;
  /** Whether the model is asked. */
  readonly forModel: boolean;
}

/** What is to become of the products of a slice. */
export interface StagedSlice {
  readonly slice: PlannedSlice;
  readonly result: Pick<CollectedResult['products'], 'categories' | 'categoryIndexes' | 'confidences' | 'rejects'>;
  readonly reviewBelow: number;
}

/** The plan of a run and what its slices became: the record from which a killed run goes on. */
export interface RunPlan {
  /**
   * Reads the catalogue and writes the plan in one transaction, then the run is `running`. A plan that was not finished
   * leaves nothing.
   *
   * @param write returns how many products the source gave and how many of them are skipped
   */
  create(
    runId: string,
    write: (catalogue: Catalogue, sink: PlanSink) => Promise<Pick<RunCounts, 'products' | 'skipped'>>,
  ): Promise<void>;
  slices(runId: string): Promise<readonly SliceState[]>;
  read(runId: string, number: number): Promise<PlannedSlice>;
  /** Once for each slice, however often it is called. */
  stage(runId: string, staged: StagedSlice): Promise<void>;
  /** Its chunk failed for good: every product of it is rejected. */
  stageFailed(runId: string, slice: PlannedSlice, reason: { code: string; message: string }): Promise<void>;
  /** Counts one more sending of these slices. */
  sendAgain(runId: string, numbers: readonly number[]): Promise<void>;
}

/** Staged products as a person wants to see them before they are applied. */
export interface RunReport {
  /** Products that would go from one category to another, the most frequent first; from null: had none. */
  readonly matrix: readonly {
    readonly from: string | null;
    readonly to: string;
    readonly products: number;
    readonly meanConfidence: number | null;
  }[];
  /** Products by confidence: ten steps of 0.1 from 0 on. */
  readonly confidence: readonly number[];
  readonly rejectedByCode: Readonly<Record<string, number>>;
  readonly samples: readonly {
    readonly from: string | null;
    readonly to: string;
    readonly products: readonly {
      readonly productId: string;
      readonly confidence: number | null;
      readonly decidedBy?: string;
    }[];
  }[];
  readonly rejectSamples: readonly {
    readonly productId: string | null;
    readonly code: string;
    readonly message: string;
  }[];
  readonly reviewSamples: readonly {
    readonly productId: string;
    readonly from: string | null;
    readonly to: string;
    readonly confidence: number;
  }[];
}

export interface RunReports {
  /** Counts what is staged, and keeps the report with the run. */
  create(runId: string): Promise<RunCounts>;
  get(runId: string): Promise<RunReport | undefined>;
}

/** What of a slice is written in one transaction, and how. */
export interface SlicePart {
  /** All that is open where it is not said. */
  readonly productIds?: readonly string[];
  /** Waits a twentieth of the lock timeout only: something is locked, and it is to be found out what. */
  readonly hasty: boolean;
}

/**
 * - `written`: it is done and committed; what could not be written is on record
 * - `locked`: nothing was done, as somebody else held a row for longer than the lock timeout
 * - `short`: nothing was done, as the ERP's statement touched fewer rows than there are changes; smaller parts show which
 */
export type WriteOutcome = 'written' | 'locked' | 'short';

/** The categories of the products, and every change of them. */
export interface CategoryStore {
  /**
   * Has the database look at what writes to the ERP without running it, as far as that can be done.
   *
   * @throws CategorizerError `APPLY_SQL_FAILED`, and `APPLY_FAILED` where the column cannot hold one of the categories
   */
  checkWrites(settings: RunSettings, categories: readonly string[]): Promise<void>;
  /** The same of a statement alone. */
  checkStatement(applySql: string): Promise<void>;
  /** Numbers of the slices that are staged and not applied. */
  unapplied(runId: string): Promise<readonly number[]>;
  /** Products of a slice that are neither applied nor given up. */
  open(runId: string, sliceNumber: number): Promise<readonly string[]>;
  /**
   * Applies what is open of a staged slice, or a part of it, in one transaction, the ERP's column with it. Doing it again
   * changes nothing.
   *
   * @throws CategorizerError `APPLY_SQL_FAILED`, `APPLY_FAILED`
   */
  apply(runId: string, sliceNumber: number, part?: SlicePart): Promise<WriteOutcome>;
  /** Records that these could not be written, as they are locked; the next run looks at them again. */
  giveUp(runId: string, sliceNumber: number, productIds: readonly string[]): Promise<void>;
  /**
   * Ends a working run: `finished`, or `finished_with_rejects`, also where something was not written for another reason
   * than the ERP's own change. What was staged is not needed any more.
   */
  finish(runId: string): Promise<void>;
  /** Takes the lock for the revert of an ended run. @returns the numbers of its slices that changed something */
  beginRevert(runId: string): Promise<readonly number[]>;
  /** Products of a slice that are still to be restored. */
  revertible(runId: string, sliceNumber: number): Promise<readonly string[]>;
  /** As `apply` does. */
  revert(runId: string, sliceNumber: number, part?: SlicePart): Promise<WriteOutcome>;
  /** Gives the lock free. While products are left that are locked, the run can be reverted again. */
  endRevert(runId: string): Promise<RevertCounts>;
}

export interface RevertCounts {
  readonly restored: number;
  /** Changed since, gone, or decided by people. */
  readonly kept: number;
  /** Still to be restored, as somebody else held their rows. */
  readonly locked?: number;
  /** The write did not touch them. */
  readonly untouched?: number;
}

/** What makes runs go on: a job for each working run, whoever takes it. */
export interface RunQueue {
  /** Adds the job of the run where there is none. */
  ensure(runId: string): Promise<void>;
}

/** What became of one chunk of a run. */
export type ChunkOutcome =
  | { readonly state: 'pending' }
  | {
      readonly state: 'categorized';
      readonly result: CollectedResult;
      readonly model: Pick<ModelInfo, 'version' | 'sha256'>;
    }
  /** For good. */
  | { readonly state: 'failed'; readonly code: string; readonly message: string }
  /** Neither a result nor a failure: it must be sent again. */
  | { readonly state: 'lost' };

export interface RunChunks {
  outcome(runId: string, number: number): Promise<ChunkOutcome>;
  /** Takes the results of these chunks off the results queue, whatever they are. */
  removeResults(runId: string, numbers: readonly number[]): Promise<void>;
}

export interface Review {
  readonly productId: string;
  readonly runId: string | null;
  readonly proposedCategory: string | null;
  readonly confidence: number | null;
  readonly currentCategory: string | null;
  readonly createdAt: Date;
  readonly decidedCategory: string | null;
  readonly decidedBy: string | null;
  readonly decidedAt: Date | null;
}

export interface TrainingRow {
  readonly productId: string;
  readonly features: readonly number[];
  readonly category: string;
}

export interface Reviews {
  /** The oldest first. */
  list(options: { readonly decided: boolean; readonly limit: number }): Promise<readonly Review[]>;
  /** Writes a person's decision; it wins over the model from the next run on. @returns whether it changed anything */
  decide(productId: string, decision: Decision): Promise<boolean>;
  /** Takes a decision back. @returns whether there was one */
  withdraw(productId: string): Promise<boolean>;
  /** Decided products with the vector that was looked at, as training data. */
  training(): AsyncIterable<readonly TrainingRow[]>;
  /** Decisions whose vector is not known before the next run. */
  withoutFeatures(): Promise<number>;
}

/** What starts runs by itself. */
export interface Schedule {
  /** The name of its runs. */
  readonly name: string;
  /** Five fields, or six with seconds first. */
  readonly cron: string;
  /** IANA name: the cron expression is read on the clocks there. */
  readonly timeZone: string;
  /** What happens to a time at which no scheduler ran: one run when one runs again, or none. */
  readonly missed: 'catch-up' | 'skip';
  readonly settings: RunSettings;
  readonly updatedAt: Date;
}

/** The record of the schedules. */
export interface Schedules {
  list(): Promise<readonly Schedule[]>;
  get(name: string): Promise<Schedule | undefined>;
  set(schedule: Omit<Schedule, 'updatedAt'>): Promise<void>;
  /** @returns whether there was one */
  remove(name: string): Promise<boolean>;
}

/** What calls when a schedule is due. */
export interface ScheduleQueue {
  /** Makes it call for exactly these. */
  sync(schedules: readonly Schedule[]): Promise<void>;
}

/** Reads cron expressions. */
export interface Calendar {
  /** @returns a sentence that says what is wrong, or undefined */
  problem(cron: string, timeZone: string): string | undefined;
  next(cron: string, timeZone: string, after: Date, count: number): readonly Date[];
  previous(cron: string, timeZone: string, before: Date): Date;
}

/** The newest run of a name, and when one of that name last ended well. */
export interface RunStatistic {
  readonly name: string;
  readonly state: RunState;
  readonly stateSince: Date;
  /** Until its end, or until now. */
  readonly durationSeconds: number;
  readonly counts?: RunCounts;
  /** Finished with no product rejected. */
  readonly lastSuccessAt?: Date;
  /** Finished, with or without rejects. */
  readonly lastEndAt?: Date;
}

export interface RunStatistics {
  /** One for each name; dry runs do not count. */
  read(): Promise<readonly RunStatistic[]>;
}

/** Follows the runs. */
export interface RunObserver {
  /** It is over, or waits for approval. */
  ended(run: Run): void;
  /** A schedule was due and began no run. */
  skipped(schedule: string, reason: 'missed' | 'locked'): void;
}
