import type { RejectReason } from './errors.ts';

/** The largest finite float32. A double beyond it (1e39) would be infinite once it is in the tensor. */
export const MAX_FLOAT32 = 3.4028234663852886e38;

/** `rows` feature vectors, row-major in one array of rows × width float32. */
export interface FeatureMatrix {
  readonly rows: number;
  readonly width: number;
  readonly values: Float32Array;
}

/** A view of some rows; it shares the memory of `features`. */
export function sliceRows(features: FeatureMatrix, start: number, rows: number): FeatureMatrix {
  const { width, values } = features;
  return { rows, width, values: values.subarray(start * width, (start + rows) * width) };
}

/**
 * Checks one feature vector and writes it to `target` at `offset`.
 *
 * @param values what came as features: anything
 * @param width how many numbers the model expects
 * @returns why it was refused, or undefined. `target` may be half written then: the caller reuses the place.
 */
export function readFeatures(
  values: unknown,
  width: number,
  target: Float32Array,
  offset: number,
): RejectReason | undefined {
  if (!Array.isArray(values)) {
    return { code: 'WRONG_WIDTH', message: `expected ${width} features, got ${describe(values)}` };
  }
  if (values.length !== width) {
    return { code: 'WRONG_WIDTH', message: `expected ${width} features, got ${values.length}` };
  }
  for (let i = 0; i < width; i++) {
    const value: unknown = values[i];
    // Written so that NaN, of which every comparison is false, is refused as well.
    if (typeof value !== 'number' || !(Math.abs(value) <= MAX_FLOAT32)) {
      return {
        code: 'NON_FINITE_FEATURE',
        message: `feature ${i} is not a finite float32 number: ${describe(value)}`,
      };
    }
    target[offset + i] = value;
  }
  return undefined;
}

/** A short form of any value for a message. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  return typeof value === 'string' ? quote(value) : String(value);
}

const MAX_QUOTED_CHARACTERS = 40;

/** In quotes, without control characters, and with no character cut in half. */
function quote(text: string): string {
  const characters = [...text.slice(0, 2 * MAX_QUOTED_CHARACTERS)];
  const short = characters.slice(0, MAX_QUOTED_CHARACTERS).join('');
  const quoted = JSON.stringify(short).replace(/[\u007f-\u009f]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
  return short.length < text.length ? `${quoted}…` : quoted;
}
