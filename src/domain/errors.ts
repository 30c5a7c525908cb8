/** Codes of what can be wrong with a product or a job. They are public: documented, and never renamed. */
export const REJECT_CODES = {
  INVALID_JOB: 'The job is not one of the forms of the wire contract.',
  INVALID_ROW: 'A line of the input file cannot be read as a product.',
  INVALID_PRODUCT_ID: 'The product id is not a string of 1 to 200 characters without control characters.',
  DUPLICATE_PRODUCT_ID: 'The product id stands more than once in one import.',
  WRONG_WIDTH: 'The feature vector has not as many numbers as the model expects.',
  NON_FINITE_FEATURE: 'A feature is not a number, or not a finite one in float32.',
  PREDICTION_FAILED: 'The model failed on this product alone, or its output for it is not finite.',
} as const;

export type RejectCode = keyof typeof REJECT_CODES;

/** Why one product cannot be categorized: a stable code and a sentence for people. */
export interface RejectReason {
  readonly code: RejectCode;
  readonly message: string;
}

/** Codes of what can go wrong around the products. Public as well. */
export const ERROR_CODES = {
  CONFIG_INVALID: 'An environment variable is missing or has a bad value.',
  DASHBOARD_NEEDS_LOGIN: 'The dashboard would listen where others can reach it, and nobody has to log in.',
  MODEL_NOT_FOUND: 'A file of the model is missing or cannot be read.',
  MODEL_MANIFEST_INVALID: 'manifest.json or golden.json has not the form that this version reads.',
  MODEL_CHECKSUM_MISMATCH: 'The sha256 of the ONNX file is not the one in the manifest.',
  MODEL_SHAPE_MISMATCH: 'Inputs, outputs, width, categories or the batch dimension do not fit the manifest.',
  MODEL_LOAD_FAILED: 'The runtime could not load the ONNX file.',
  MODEL_GOLDEN_MISMATCH: 'The model does not reproduce the golden sample: its logits, or its category codes.',
  PREDICTOR_UNAVAILABLE: 'The predictor fails on every input, a harmless one too, or was closed.',
  SHUTTING_DOWN: 'The process is stopping and takes no more products.',
  HTTP_NOT_LISTENING: 'The HTTP port is taken, or its address is not one of this machine.',
  REDIS_UNAVAILABLE: 'Redis does not answer.',
  REDIS_REFUSED: 'Redis answered a command with an error: memory full, no permission.',
  PAYLOAD_MISSING: 'The payload of a packed chunk is gone: send the chunk again.',
  PAYLOAD_INVALID: 'The payload of a packed chunk is not what its job says: length, checksum or number of ids.',
  RUN_CONFLICT:
    'Another input, or the same one read or cut in another way, was sent under this run id before; or jobs of another producer hold its ids.',
  RUN_LOST: 'Redis has nothing of a run that was sent: it was emptied. The same import, run again, sends it anew.',
  RUN_INCOMPLETE:
    'Some products of a run failed, are missing, or are not categorized yet. The sentence names the command that continues it.',
  RUN_HELD: 'Another process is collecting this run.',
  RUN_COLLECTED: 'All of the run was collected before, into another file, or that file is gone.',
  TOO_MANY_REJECTS: 'More rows were rejected than --max-rejects allows.',
  TOO_MANY_DUPLICATES: 'So many product ids stand more than once that the id column is hardly the right one.',
  DATABASE_UNAVAILABLE: 'PostgreSQL does not answer, or ended what was under way.',
  DATABASE_REFUSED: 'PostgreSQL answered a statement with an error: no permission, bad SQL, no such database.',
  DATABASE_NOT_MIGRATED: 'The tables of this program are missing or older than this version.',
  SOURCE_INVALID:
    'The source of a recategorization cannot be read as its settings say, lacks a column, or tries to write.',
  APPLY_FAILED:
    'The category column of the ERP (--apply) cannot be written, or cannot hold the categories of the model.',
  APPLY_SQL_FAILED: "The ERP's own statement (--apply-sql) failed.",
  UNKNOWN_CATEGORY: 'A person decided on a category that the model does not know.',
  MODEL_MISMATCH:
    'No worker had a model that was made for these vectors, or the workers run another model than the run was planned for.',
  RESULT_LOST: 'The result of a chunk vanished again and again: somebody else collects or removes it.',
  RUN_LOCKED: 'Another run is under way, waits for approval or is being reverted.',
  RUN_NOT_FOUND: 'There is no such run.',
  RUN_STATE: 'The run is in a state in which that cannot be done.',
  UNFORESEEN: 'A recategorization failed again and again with an error that is a defect of this program.',
  SCHEDULE_NOT_FOUND: 'There is no such schedule.',
  REVIEW_NOT_FOUND: 'There is no such product, or nothing to take back.',
  INPUT_NOT_READABLE: 'The input cannot be read, or is not in the format that was said.',
  OUTPUT_NOT_WRITABLE: 'The output cannot be written.',
  OUTPUT_CONFLICT: 'The output file exists and must not be overwritten.',
  INTERRUPTED: 'A signal ended the command.',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES | RejectCode;

/** Every error that this program raises on purpose. Anything else is a defect and travels on unchanged. */
export class CategorizerError extends Error {
  override readonly name = 'CategorizerError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    /** `retryable`: the same work can succeed later with nothing changed (an outage, a shutdown). */
    readonly options: { readonly retryable?: boolean; readonly cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
  }

  get retryable(): boolean {
    return this.options.retryable ?? false;
  }
}

/** The message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
