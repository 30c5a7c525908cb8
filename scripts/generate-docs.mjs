// Writes .env.example and the tables of the README from the code, so that they cannot disagree with it.
// With --check it writes nothing and fails where they are stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { configSchema } from '../dist/config.js';
import { ERROR_CODES, REJECT_CODES } from '../dist/domain/errors.js';

/** @typedef {{ description: string, default?: string | number }} Setting */

/** @type {Record<string, Setting>} */
const settings = z.toJSONSchema(configSchema, { io: 'output', unrepresentable: 'any' }).properties ?? {};

const envExample = `# Every setting with its default. An empty value counts as not set.
${Object.entries(settings)
  .map(
    ([name, { description, default: value }]) =>
      `\n# ${description}\n${value === undefined ? '# ' : ''}${name}=${value ?? ''}`,
  )
  .join('\n')}
`;

/** @param {string[]} header @param {(string | number)[][]} rows */
function table(header, rows) {
  return [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

const tables = {
  configuration: table(
    ['variable', 'default', 'what it is'],
    Object.entries(settings).map(([name, { description, default: value }]) => [
      `\`${name}\``,
      value === undefined ? '' : `\`${value}\``,
      description,
    ]),
  ),
  'reject codes': table(
    ['code', 'what is wrong'],
    Object.entries(REJECT_CODES).map(([code, sentence]) => [`\`${code}\``, sentence]),
  ),
  'error codes': table(
    ['code', 'what happened'],
    Object.entries(ERROR_CODES).map(([code, sentence]) => [`\`${code}\``, sentence]),
  ),
};

/** @param {string} text */
function withTables(text) {
  return Object.entries(tables).reduce((result, [name, content]) => {
    const place = new RegExp(`(<!-- ${name}: [^\\n]*-->\\n)[\\s\\S]*?(\\n<!-- end of ${name} -->)`);
    if (!place.test(result)) throw new Error(`README.md has no place for the table "${name}"`);
    return result.replace(place, (_all, begin, end) => `${begin}${content}${end}`);
  }, text);
}

const root = new URL('../', import.meta.url);
const readme = new URL('README.md', root);
const files = [
  { file: new URL('.env.example', root), content: envExample },
  { file: readme, content: withTables(readFileSync(readme, 'utf8')) },
];
const check = process.argv.includes('--check');
for (const { file, content } of files) {
  if (!check) writeFileSync(file, content);
  else if (readFileSync(file, 'utf8') !== content) {
    console.error(`${file.pathname} is stale: run npm run docs`);
    process.exitCode = 1;
  }
}
