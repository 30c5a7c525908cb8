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
  /** What produced the vectors that it was made for; it answers no others. */
  readonly space: string;
  readonly categories: readonly Category[];
  /** Share (0 to 1) of each category in the data that it was trained on, by code, where that is known. */
  readonly trainingShares?: Readonly<Record<string, number>>;
  readonly trainedOn?: TrainingData;
  readonly validation?: ValidationScores;
  /** What the features looked like in training. */
  readonly features?: FeatureStatistics;
}

export interface TrainingData {
  /** The name of a file, or `synthetic`. */
  readonly source: string;
  readonly rows?: number;
  /** When the data was taken. */
  readonly date?: string;
}

/** Of each feature over the training rows, in the order of the features. */
export interface FeatureStatistics {
  readonly mean: readonly number[];
  /** Standard deviation. */
  readonly spread: readonly number[];
  readonly min: readonly number[];
  readonly max: readonly number[];
}

/** How well the model did on rows that it was not trained on; shares from 0 to 1. */
export interface ValidationScores {
  readonly rows: number;
  readonly accuracy: number;
  readonly perCategory: readonly {
    readonly code: string;
    /** Of the rows that the model put there. */
    readonly precision: number;
    /** Of the rows that belong there. */
    readonly recall: number;
    readonly support: number;
  }[];
}

/** Such a model proves the path from a file to its categories, and knows nothing about real products. */
export function isSynthetic({ trainedOn }: Pick<ModelInfo, 'trainedOn'>): boolean {
  return trainedOn?.source === 'synthetic';
}

export function syntheticWarning({ name, version }: Pick<ModelInfo, 'name' | 'version'>): string {
  return `the model ${name} ${version} was trained on synthetic data: it shows that the path works, and its categories of real products mean nothing; train one on your own data (ml/README.md)`;
}
