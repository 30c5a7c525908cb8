/** Enough for any number that is put. */
export const MAX_NUMBER_BYTES = 32;

const ZERO = 0x30;
const POINT = 0x2e;

/**
 * Puts a float32 number as the shortest decimal that gives the same float32 back: 0.9973, not 0.9973000288009644.
 *
 * @param bytes with room for `MAX_NUMBER_BYTES`
 * @returns where the text ends
 */
export function putConfidence(bytes: Uint8Array, at: number, value: number): number {
  // From here to 1 nine digits after the point are always enough.
  if (!(value >= 0.0625 && value < 1)) return putText(bytes, at, shortest(value));
  let digits = 7;
  let scale = 1e7;
  while (Math.fround(Math.round(value * scale) / scale) !== value) {
    scale *= 10;
    digits++;
  }
  if (digits === 7) {
    while (Math.fround(Math.round(value * (scale / 10)) / (scale / 10)) === value) {
      scale /= 10;
      digits--;
    }
  }
  let rest = Math.round(value * scale);
  bytes[at] = ZERO;
  bytes[at + 1] = POINT;
  for (let place = at + 1 + digits; place > at + 1; place--) {
    const tenth = Math.floor(rest / 10);
    bytes[place] = ZERO + rest - tenth * 10;
    rest = tenth;
  }
  return at + 2 + digits;
}

function shortest(value: number): string {
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return JSON.stringify(rounded);
  }
  return JSON.stringify(value);
}

function putText(bytes: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
  return at + text.length;
}
