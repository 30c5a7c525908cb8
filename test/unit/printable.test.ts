import { describe, expect, it } from 'vitest';
import { formatCounts, formatFields, formatTable } from '../../src/cli/context.ts';
import { printable, printableLine } from '../../src/domain/printable.ts';

describe('text for a terminal', () => {
  it.each([
    ['\u001b]0;title\u0007', '\\u001b]0;title\\u0007'],
    ['\u009b31m', '\\u009b31m'],
    ['a\rb\tc\u0000\u007f', 'a\\u000db\\u0009c\\u0000\\u007f'],
    ['\u202egnp.exe\u2066\u2069', '\\u202egnp.exe\\u2066\\u2069'],
    ['a\u200bb\u2028c\u2029\ufeff', 'a\\u200bb\\u2028c\\u2029\\ufeff'],
    ['\u{e0041}', '\\udb40\\udc41'],
    ['\ud800', '\\ud800'],
  ])('shows %j as what it is', (text, shown) => {
    expect(printable(text)).toBe(shown);
    expect(printableLine(text)).toBe(shown);
  });

  it('leaves letters of every script, emoji and line feeds as they are', () => {
    const text = 'Açaí 12 % - Материал 建材 🛠\nsecond line';
    expect(printable(text)).toBe(text);
  });

  it('escapes line feeds within a line', () => {
    expect(printableLine('a\nINJECTED')).toBe('a\\u000aINJECTED');
  });

  it('of JSON means the same afterwards', () => {
    const value = { name: '\u001b[31m\u009b\u202e\u2028\n"\\', 'k\u200b': '🛠' };
    expect(JSON.parse(printable(JSON.stringify(value)))).toEqual(value);
  });

  it('in fields and tables is escaped before widths are measured, and no value begins a line', () => {
    expect(formatFields({ name: 'a\nb', x: '\u001b' })).toBe('name  a\\u000ab\nx     \\u001b');
    expect(
      formatTable(
        [
          ['run', 'n'],
          ['a\nb', '1'],
        ],
        1,
      ),
    ).toBe('run       n\na\\u000ab  1');
    expect(printable(formatCounts({ 'A\u001b': 1 }))).toBe('A\\u001b 1');
  });
});
