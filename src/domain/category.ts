/** A category of the model's list; its index in that list is what the tensors and packed results carry. */
interface Category {
  readonly code: string;
  readonly name: string;
}

/** The category index of a row that has no category: it was rejected. */
export const NO_CATEGORY = 65535;

/** What a model says of itself, from its manifest. */
export interface ModelInfo {
  readonly name: string;
  readonly version: string;
  /** Hex sha256 of the model file. */
  readonly sha256: string;
  /** Numbers in a feature vector. */
  readonly width: number;
  readonly categories: readonly Category[];
  /** Share (0 to 1) of each category in the data that it was trained on, by code, where that is known. */
  readonly trainingShares?: Readonly<Record<string, number>>;
}
