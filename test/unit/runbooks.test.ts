import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { createProgram } from '../../src/cli/program.ts';
import { readConfig } from '../../src/config.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FOLDER = join(ROOT, 'docs/runbooks');
const HEADINGS = ['Meaning', 'Impact', 'Diagnosis', 'Mitigation'];
const INDEX = 'README.md';

const read = (path: string) => readFileSync(path, 'utf8');
const files = readdirSync(FOLDER).toSorted();
const runbooks = files.filter((file) => file !== INDEX);

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}
const { groups }: { groups: readonly { readonly rules: readonly Rule[] }[] } = parse(
  read(join(ROOT, 'deploy/prometheus/categorizer.rules.yml')),
);
const rules = groups.flatMap((group) => group.rules);
const alerts = rules.flatMap(({ alert, annotations }) => (alert === undefined ? [] : [{ alert, annotations }]));

const program = createProgram({
  config: () => readConfig({}),
  command: 'categorizer',
  stop: new AbortController().signal,
  print: () => undefined,
  note: () => undefined,
  exitWith: () => undefined,
});

/** Lines of shell blocks, and code within sentences, that start with the command. */
function commandLinesOf(markdown: string): string[] {
  const shell = [...markdown.matchAll(/^ *```(?:sh|bash)\n(.*?)^ *```$/gms)].flatMap(([, block]) => block.split('\n'));
  const inline = [...markdown.replaceAll(/^ *```.*?^ *```$/gms, '').matchAll(/`([^`]+)`/g)].map(([, code]) => code);
  return [...shell, ...inline].map((line) => line.trim()).filter((line) => /^categorizer(?: |$)/.test(line));
}

/** What the program does not know of a command line: commands and options, their values aside. */
function unknownIn(line: string): string[] {
  let words = line
    .replace(/ [#|>].*$/, '')
    .split(/\s+/)
    .slice(1);
  let command: Command = program;
  while (command.commands.length > 0 && words.length > 0) {
    const child = command.commands.find((one) => one.name() === words[0]);
    if (child === undefined) return [words[0]];
    command = child;
    words = words.slice(1);
  }
  const known = command.options.map(({ long }) => long);
  return words.filter((word) => word.startsWith('--')).filter((word) => !known.includes(word.split('=')[0]));
}

describe('the runbooks', () => {
  it('are there for every alert, and for nothing else', () => {
    expect(alerts).not.toEqual([]);
    expect(runbooks).toEqual(alerts.map(({ alert }) => `${alert}.md`).toSorted());
  });

  it.each(alerts)('are where the alert says: $alert', ({ alert, annotations }) => {
    expect(annotations?.runbook_url).toMatch(new RegExp(`/blob/main/docs/runbooks/${alert}\\.md$`));
  });

  it.each(runbooks)('have a sentence and the four headings in their order: %s', (file) => {
    const [title, , sentence] = read(join(FOLDER, file)).split('\n');
    const sections = read(join(FOLDER, file)).split(/^## /m).slice(1);
    expect(title).toBe(`# ${file.replace('.md', '')}`);
    expect(sentence).toMatch(/^[A-Z].*\.$/);
    expect(sections.map((section) => section.split('\n')[0])).toEqual(HEADINGS);
    for (const section of sections) expect(section.split('\n').slice(1).join('').trim(), section).not.toBe('');
  });

  it.each(runbooks)('have the thresholds by the names that the rules give them: %s', (file) => {
    const named = [...read(join(FOLDER, file)).matchAll(/`(categorizer:threshold:\w+)`/g)].map(([, name]) => name);
    const recorded = rules.map(({ record }) => record);
    expect(named.filter((name) => !recorded.includes(name))).toEqual([]);
  });

  it.each(files)('name only commands and options of the program: %s', (file) => {
    const lines = commandLinesOf(read(join(FOLDER, file)));
    expect(lines).not.toEqual([]);
    expect(lines.flatMap((line) => unknownIn(line).map((word) => `${word} in: ${line}`))).toEqual([]);
  });

  it.each(files)('have links that lead somewhere: %s', (file) => {
    const targets = [...read(join(FOLDER, file)).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(([, target]) => target);
    const local = targets.filter((target) => !/^https?:/.test(target));
    expect(local).not.toEqual([]);
    expect(local.filter((target) => !existsSync(join(dirname(join(FOLDER, file)), target)))).toEqual([]);
  });

  it('are each in one line of the index, with the sentence that they begin with', () => {
    const entries = [...read(join(FOLDER, INDEX)).matchAll(/^- \[(\w+)\]\(\1\.md\): (.*)$/gm)];
    const listed = entries.map(([, name, sentence]) => [`${name}.md`, sentence]);
    expect(listed.toSorted()).toEqual(runbooks.map((file) => [file, read(join(FOLDER, file)).split('\n')[2]]));
  });
});

describe('a command line', () => {
  it.each([
    { line: 'categorizer queue retry-failed --code STALLED --dry-run', unknown: [] },
    { line: 'categorizer results --run=night --out night.csv', unknown: [] },
    { line: 'categorizer queue status --json | jq .workers --raw', unknown: [] },
    { line: 'categorizer queue resume', unknown: ['resume'] },
    { line: 'categorizer wipe --all', unknown: ['wipe'] },
    { line: 'categorizer queue status --run night', unknown: ['--run'] },
  ])('is held against the program: $line', ({ line, unknown }) => {
    expect(unknownIn(line)).toEqual(unknown);
  });
});
