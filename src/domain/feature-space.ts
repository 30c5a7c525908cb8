/** Which vectors a model answers: those of its own feature space, and of its width. */
import type { ModelInfo } from './category.ts';

/** It becomes part of jobs, metrics and log lines, hence the few characters. */
export const SPACE_PATTERN = /^[A-Za-z0-9._:-]{1,100}$/;

/** What a job says of its vectors. Without a space only the width is known. */
export interface VectorKind {
  readonly space?: string;
  /** Numbers in each of its vectors; absent where they differ, or where one bad product may be the only one. */
  readonly width?: number;
}

type Answered = Pick<ModelInfo, 'space' | 'width'>;

/** Whether a model was made for such vectors. What a job does not say fits every model. */
export function fitsModel({ space, width }: VectorKind, model: Answered): boolean {
  return (space ?? model.space) === model.space && (width ?? model.width) === model.width;
}

/** For people and as a label: no space has a blank in its name. */
export function describeKind({ space, width }: VectorKind): string {
  return space ?? (width === undefined ? 'unnamed' : `width ${width}`);
}

/** What does not fit, as the end of a sentence that begins with the jobs. */
export function describeMisfit(kind: VectorKind, model: Answered): string {
  const wanted = [
    ...(kind.space === undefined ? [] : [`feature space ${kind.space}`]),
    ...(kind.width === undefined ? [] : [`width ${kind.width}`]),
  ];
  return `${wanted.join(', ')}; the model of this worker answers feature space ${model.space}, width ${model.width}`;
}

/**
 * The space of a model whose manifest names none: from its name and width. Characters that no space may have become
 * hyphens.
 */
export function defaultSpace(name: string, width: number): string {
  const suffix = `-${width}`;
  return `${name.replace(/[^A-Za-z0-9._:-]+/g, '-').slice(0, 100 - suffix.length)}${suffix}`;
}
